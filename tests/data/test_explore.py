"""prepare --explore on a real Ray: its numbers are those that prepare would give, judged by brute force."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import sentences, write_jsonl
from sklearn.feature_extraction.text import TfidfVectorizer
from test_prepare import line_of, oracle, with_conflicts

from raypipe import ConfigError, DataError, PrepareConfig, RunConfig, pipeline
from raypipe.core.contrast import tokens

THRESHOLDS = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)


@pytest.fixture
def explore(tmp_path, local_ray):
    def go(rows=None, name="set", **flags):
        if rows is not None:
            write_jsonl(tmp_path / "in" / "raw.jsonl", rows)
        settings = {"input_dir": str(tmp_path / "in"), "input_filename": "raw.jsonl", "explore": True}
        settings["output_filename"] = str(tmp_path / "explored" / f"{name}.jsonl")
        result = pipeline.prepare(PrepareConfig(**(settings | flags)))
        return result, json.loads(Path(result.outputs["explore"]).read_text())

    return go


def near_of(rows, threshold):
    kept, removed = oracle(rows, threshold)
    near = {row: witness for row, (witness, cosine, reason) in removed.items() if reason != "exact_duplicate"}
    texts = [" ".join(row["text"].split()) for row in rows]
    near = {row: witness for row, witness in near.items() if texts[row] != texts[witness]}
    return kept, near, {row: removed[row][1] for row in near}


def test_each_threshold_removes_what_brute_force_says(explore):
    rows = with_conflicts(sentences(300))
    result, report = explore(rows, block_rows=40)
    assert tuple(entry["threshold"] for entry in report["thresholds"]) == THRESHOLDS
    for entry in report["thresholds"]:
        kept, near, _ = near_of(rows, entry["threshold"])
        assert (entry["kept"], entry["removed"]) == (len(kept), len(near))
        assert entry["share"] == pytest.approx(len(near) / len(rows), abs=1e-6)
        assert entry["exact_duplicates"] == len(rows) - len(kept) - len(near)
        assert entry["label_disagreements"] == sum(rows[r]["label"] != rows[w]["label"] for r, w in near.items())
        assert result.counts["removed"][f"{entry['threshold']:.2f}"] == len(near)
    X = np.unique(np.round(TfidfVectorizer().fit_transform([r["text"] for r in rows]).toarray(), 12), axis=0)
    S = np.triu(X @ X.T, 1)
    assert report["pairs"] == result.counts["pairs"] == int((S >= 0.6 - 1e-9).sum())
    edges = [*(t - 1e-9 for t in THRESHOLDS), 2.0]
    assert [band["pairs"] for band in report["bands"]] == np.histogram(S[S > 0.5], edges)[0].tolist()


def test_the_bands_show_true_removals_and_the_tokens_that_differ(explore):
    rows = with_conflicts(sentences(300, seed=4))
    _, report = explore(rows, block_rows=64)
    shown = 0
    for number, band in enumerate(report["bands"]):
        low, high = (*THRESHOLDS, 2.0)[number : number + 2]
        assert (band["from"], band["to"]) == (low, None if high == 2.0 else high)
        _, near, cosine = near_of(rows, low)
        inside = {row: witness for row, witness in near.items() if cosine[row] < high - 1e-9}
        assert band["removed"] == len(inside)
        assert len(band["examples"]) == min(5, len(inside))
        for example in band["examples"]:
            row, witness = line_of(example["removed"]), line_of(example["witness"])
            assert inside[row] == witness
            assert example["similarity"] == pytest.approx(cosine[row], abs=1e-6)
            for side, at in (("removed", row), ("witness", witness)):
                assert (example[side]["text"], example[side]["label"]) == (rows[at]["text"], rows[at]["label"])
            shown += 1
        differing = Counter(
            token for r, w in inside.items() for token in set(tokens(rows[r]["text"])) ^ set(tokens(rows[w]["text"]))
        )
        listed = {entry["token"]: entry["rows"] for entry in band["tokens"]}
        assert all(differing[token] == n for token, n in listed.items())
        assert sorted(listed.values()) == sorted(n for _, n in differing.most_common(12))
    assert shown > 20


def test_it_agrees_with_prepare_and_is_the_same_for_any_blocks(explore, prepare_rows):
    rows = with_conflicts(sentences(250, seed=2))
    _, report = explore(rows, name="small", block_rows=7)
    _, again = explore(None, name="large", block_rows=1000)
    for part in ("thresholds", "bands", "pairs", "rows"):
        assert report[part] == again[part], part
    prepared = prepare_rows(rows, similarity_threshold=0.75)["report"]
    entry = report["thresholds"][3]
    removed = prepared["removed"]
    assert sum(removed.values()) == entry["removed"] + entry["exact_duplicates"]
    assert prepared["kept"] == entry["kept"]
    assert prepared["differ_only_in"].items() >= entry["differ_only_in"].items()


def test_label_rules_come_first_and_contrasts_are_counted(explore):
    rows = [{"text": f"start pump error {n}", "label": "pump"} for n in range(4)]
    rows += [{"text": "the blue valve is open", "label": "valve"}, {"text": "is the blue valve open", "label": "pump"}]
    rows += [{"text": "I can open the gate", "label": "valve"}, {"text": "I can't open the gate", "label": "valve"}]
    rows += [{"text": "start pump error 9", "label": "unwanted"}]
    _, report = explore(rows, labels_to_filter=("unwanted",))
    assert report["left_before"] == {"filtered_label": 1} and report["rows"] == 8
    last = report["thresholds"][-1]
    assert last["removed"] == 5 and last["differ_only_in"] == {"digits": 3, "negation": 1}
    assert last["label_disagreements"] == 1


def test_only_a_report_is_written_and_texts_are_escaped(explore, tmp_path):
    rows = [*sentences(60), *({"text": f"<script>alert({n})</script> red", "label": "<b>"} for n in range(3))]
    result, report = explore(rows)
    assert {p.name for p in (tmp_path / "explored").iterdir()} == {"set_explore.json", "set_explore.html"}
    assert set(result.outputs) == {"explore", "page"} and result.command == "prepare"
    page = Path(result.outputs["page"]).read_text()
    assert "<script" not in page and "&lt;script&gt;alert(" in page and "<svg" in page and "&lt;b&gt;" in page
    assert not re.search(r'(?:src|href)="(?!#)', page)
    assert report["sha256"]["inputs"].keys() == {"raw.jsonl"} and report["config_hash"] == result.config_hash


def test_resume_and_overwrite(explore, tmp_path):
    rows = sentences(60)
    first, _ = explore(rows)
    with pytest.raises(ConfigError, match="complete output exists"):
        explore(None)
    again, _ = explore(None, resume=True)
    assert again.status == "skipped" and again.counts == first.counts
    with pytest.raises(ConfigError, match="another configuration"):
        explore(None, resume=True, seed=7)
    with pytest.raises(ConfigError, match="changed input"):
        explore(rows[:-1], resume=True)
    assert explore(None, overwrite=True)[0].counts["rows_in"] == 59


@pytest.mark.parametrize("block_rows", [25, 1000])
def test_too_many_pairs_is_one_error_and_no_cap(explore, tmp_path, monkeypatch, block_rows):
    from raypipe.data import explore as module

    monkeypatch.setattr(module, "SLICE_PAIRS", 200)
    rows = [{"text": f"{'parcel late ' * 6}item{n}", "label": "ab"[n % 2]} for n in range(80)]
    with pytest.raises(DataError) as refusal:
        explore(rows, explore_max_pairs=3159, block_rows=block_rows)
    text = str(refusal.value)
    assert "3,159 pairs" in text and "--explore-max-pairs" in text and "parcel" not in text
    assert not list(tmp_path.glob("explored/*"))
    _, report = explore(None, explore_max_pairs=3160, block_rows=block_rows)
    assert report["pairs"] == 80 * 79 // 2


def test_a_whole_run_refuses_to_explore(tmp_path):
    toml = tmp_path / "run.toml"
    toml.write_text('[prepare]\ninput_dir = "in"\ninput_filename = "raw.jsonl"\nexplore = true\n[train]\n')
    with pytest.raises(ConfigError, match=r"explore = true under \[prepare\].*prepare --config FILE --explore"):
        pipeline.run(RunConfig(config=str(toml), run_dir=str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()


def test_a_task_stops_before_its_pairs_fill_the_memory(monkeypatch):
    from raypipe.core import similarity
    from raypipe.data import explore as module

    def unit_rows(texts):
        matrix = TfidfVectorizer().fit_transform(texts)
        matrix.sort_indices()  # as core.tfidf gives them
        return matrix

    monkeypatch.setattr(module, "SLICE_PAIRS", 500)
    X = unit_rows([f"one two three four word{n % 50}" for n in range(60)])
    whole = module._near_pairs(X, None, 0.6, 10**6)
    assert sorted(zip(*whole[:2], strict=True)) == sorted(zip(*similarity.self_join(X, 0.6)[:2], strict=True))
    two = module._near_pairs(X[30:], X[:30], 0.6, 10**6)
    assert sorted(zip(*two[:2], strict=True)) == sorted(
        zip(*similarity.cross_join(X[30:], X[:30], 0.6)[:2], strict=True)
    )
    sparse = unit_rows([f"thing{n} other{n // 2}" for n in range(300)])
    monkeypatch.setattr(module, "SLICE_PAIRS", 3000)
    assert module._step(sparse, sparse, 0.3) == 300, "a sample says that few rows have a pair"
    assert module._step(X, X, 0.1) == 50, "and here that all have"
    found = module._near_pairs(sparse, None, 0.3, 10**6)
    assert sorted(zip(*found[:2], strict=True)) == [(n + 1, n) for n in range(0, 300, 2)]
    monkeypatch.setattr(module, "SLICE_PAIRS", 500)
    asked = []
    monkeypatch.setattr(
        module.similarity, "cross_join", lambda *a: asked.append(1) or similarity.Pairs(*[np.zeros(600)] * 3)
    )
    assert module._near_pairs(X[30:], X[:30], 0.6, 599) is None and len(asked) == 2, "a sample, then one slice"


def test_a_dry_run_looks_at_the_places_of_an_exploration(explore, prepare_rows):
    rows = sentences(60)
    prepared = prepare_rows(rows)
    beside = {"output_filename": str(prepared["folder"] / "set.jsonl"), "explore": True}
    flags = beside | {"input_dir": prepared["report"]["config"]["input_dir"], "input_filename": "raw.jsonl"}
    assert pipeline.prepare(PrepareConfig(**flags, dry_run=True)).status == "dry_run"
    explore(None, **beside)
    with pytest.raises(ConfigError, match=r"set_explore\.json"):
        pipeline.prepare(PrepareConfig(**flags, dry_run=True))
