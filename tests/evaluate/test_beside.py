"""What stands beside a model: near-copies against brute force, earlier predictions, kept baselines, cards."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import sentences
from hub_server import HubServer
from huggingface_hub import CommitOperationAdd, HfApi
from sklearn.feature_extraction.text import TfidfVectorizer
from waiting import PATIENCE_S

from raypipe.errors import ConfigError
from raypipe.evaluate import baseline, earlier
from raypipe.evaluate.near_copies import has_near_copy
from raypipe.hub import Source, license_of
from raypipe.pipeline import rows
from raypipe.splits import Splits, cleaned_at


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_near_copies_equal_brute_force(threshold):
    texts = [row["text"] for row in sentences(400)] + ["", "?!"]
    train, test = texts[:300], [*texts[300:], texts[0] + "  ", "?!"]
    vectorizer = TfidfVectorizer().fit(train + test)
    cosine = (vectorizer.transform(test) @ vectorizer.transform(train).T).toarray().max(axis=1)
    expected = cosine >= threshold - 1e-9
    expected[-2] = True  # but for white space, a text of train
    found = has_near_copy(train, test, threshold)
    assert found.tolist() == expected.tolist()
    assert 0 < found.sum() < len(test)
    assert has_near_copy(["?!"], ["?!", "a word"], threshold).tolist() == [True, False], "equal texts without words"


def test_the_card_says_where_a_dataset_was_cleaned():
    from raypipe.report.pages import render

    values = {"splits": {"train": 8, "test": 2}, "kept_classes": 2, "rows_in": 10, "kept": 10, "removed": {}}
    values["corrections"] = None
    config = {"license": None, "similarity_threshold": 0.85, "seed": 1}
    card = render("dataset_card.md", escaped=False, version="0", config=config, analyzer="word n-grams", **values)
    assert cleaned_at(card) == 0.85
    assert cleaned_at("# A dataset of somebody else's") is None


@pytest.mark.parametrize(
    ("card", "found"),
    [
        ("---\nlicense: cc-by-4.0\ntags: [a]\n---\n# x", "cc-by-4.0"),
        ("---\ntags:\n- a\nlicense:\n- 'mit'\n---\n", "mit"),
        ("---\ntags: [a]\n---\nlicense: mit", None),
        ("license: mit", None),
        ("", None),
    ],
)
def test_the_licence_is_that_of_the_cards_yaml(card, found):
    assert license_of(card) == found


@pytest.mark.parametrize(
    ("weight", "said"), [([1.0, 2.0], False), ([2.0, 2.0], False), ([1.0, -2.0], True), ([0.0, np.inf], True)]
)
def test_only_weights_weigh(local_ray, weight, said):
    test = pd.DataFrame({"text": ["x", "y"], "label": ["a", "b"], "id": ["1", "2"], "weight": weight})
    found = rows.of_splits(Splits(test, test, Source("folder")), 10)
    assert (found.weight() is not None) == (weight == [1.0, 2.0])
    assert any("weight" in notice for notice in found.notices) == said
    assert found.ids_and_labels() == (["1", "2"], ["a", "b"])


@pytest.mark.parametrize(
    ("cells", "expected"), [(["2", "1", "3"], [1.0, 3.0]), (["2", "", "x"], None), (["1", "1", "-1"], None)]
)
def test_a_local_file_may_weigh_its_rows(local_ray, tmp_path, cells, expected):
    """The first row leaves for want of a label; what stays is weighted by its own cells, or by none with a notice."""
    made = zip(["x", "y", "z"], ["", "a", "b"], cells, strict=True)
    (tmp_path / "test.csv").write_text("text,label,weight\n" + "".join(f"{','.join(row)}\n" for row in made))
    found = rows.of_files(str(tmp_path), ["test.csv"], "text", "label", 10)
    assert (found.weight() is None) == (expected is None)
    assert expected is None or found.weight().tolist() == expected
    assert any("the column weight has values" in notice for notice in found.notices) == (expected is None)


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


ROWS = [{"id": "f:1", "label": "a", "top1": True, "text": "secret"}, {"id": "f:2", "label": "b", "top1": False}]


def test_earlier_predictions_come_in_the_order_of_these_rows(tmp_path):
    found = earlier.read(lines(tmp_path / "old.jsonl", ROWS), ["f:2", "f:1"], ["b", "a"])
    assert found.correct.tolist() == [False, True] and found.name == "old.jsonl" and len(found.sha256) == 64


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (ROWS[:1], ["lacks 1 of the 2 rows", "has 0 other rows", "the same ids"]),
        ([*ROWS, {"id": "f:3", "label": "a", "top1": True}], ["lacks 0", "has 1 other"]),
        ([ROWS[0] | {"label": "z"}, ROWS[1]], ["1 rows have another label"]),
        ([ROWS[0], ROWS[0]], ["an id occurs twice (line 2)"]),
        ([{"id": "f:1", "text": "secret", "predictions": []}], ["line 1 is no prediction on a labelled row"]),
        ([ROWS[0] | {"top1": 0.5}], ["line 1"]),
        (["secret"], ["line 1"]),
    ],
)
def test_predictions_of_other_rows_are_refused(tmp_path, found, words):
    with pytest.raises(ConfigError) as refusal:
        earlier.read(lines(tmp_path / "old.jsonl", found), ["f:1", "f:2"], ["a", "b"])
    assert all(word in str(refusal.value) for word in words), str(refusal.value)
    assert "secret" not in str(refusal.value) and "--compare-with" in str(refusal.value)


def test_no_file_to_compare_with(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        earlier.read(str(tmp_path / "none.jsonl"), [], [])


def test_baselines_are_kept_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYPIPE_CACHE", str(tmp_path / "kept"))
    path = baseline.cache_path("print", 42, 3)
    assert path.startswith(str(tmp_path / "kept")) and baseline.cached(path) is None
    ranked = {"majority": np.array([[0, 1], [0, 1]]), "tfidf_logreg": np.array([[1, 0], [0, 1]])}
    assert baseline.keep(path, ranked)
    again = baseline.cached(path)
    assert {name: r.tolist() for name, r in again.items()} == {name: r.tolist() for name, r in ranked.items()}
    others = {baseline.cache_path(*key) for key in (("print", 43, 3), ("print", 42, 5), ("other", 42, 3))}
    assert len({path, *others}) == 4, "other rows, another seed, more predictions: another place"
    with open(path, "r+b") as file:
        file.truncate(20)
    assert baseline.cached(path) is None, "a damaged file is no baseline"
    monkeypatch.setenv("RAYPIPE_CACHE", "/proc/nowhere")
    assert not baseline.keep(baseline.cache_path("print", 42, 3), ranked)


def test_the_threshold_comes_from_the_card_of_a_repository_too(tmp_path):
    script = """
import json
from raypipe import splits
token = "hf_cardTOKEN"
found = [splits.load(name, "text", "label", token).similarity_threshold for name in ("user/ours", "user/theirs")]
print(json.dumps(found))
"""
    files = {"train.csv": b"text,label\nx,a\ny,b\n", "test.csv": b"text,label\nz,a\n"}
    card = b"# Dataset\n\nwith the same text, or with a TF-IDF cosine of 0.7 or more\n(word), the first one stays.\n"
    with HubServer(tokens={"hf_cardTOKEN"}) as server:
        api = HfApi(endpoint=server.url, token="hf_cardTOKEN")
        for name, more in {"user/ours": {"README.md": card}, "user/theirs": {}}.items():
            api.create_repo(name, repo_type="dataset")
            operations = [CommitOperationAdd(path, content) for path, content in (files | more).items()]
            api.create_commit(name, operations, commit_message="rows", repo_type="dataset")
        environment = os.environ | {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path)}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [0.7, None]
