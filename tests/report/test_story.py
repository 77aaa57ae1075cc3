"""The pages and the model card of a whole run, from numbers alone: parsed, escaped, and what they advise."""

import copy
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from huggingface_hub import ModelCard

from raypipe import provenance
from raypipe.core.metrics import class_scores
from raypipe.evaluate.evaluate import Beside, evaluate
from raypipe.evaluate.near_copies import NearCopies
from raypipe.evaluate.scoring import Scored
from raypipe.report import cards, hints, pages
from raypipe.report.hints import Story

HOSTILE = "<script>alert('x')</script> | `a` & *b*"
LABELS = [HOSTILE, "plain", "third_label"]
VOID = {"meta", "br", "input", "path", "use", "link", "img", "rect", "circle"}


class Strict(HTMLParser):
    """Refuses tags that do not close, scripts, and whatever a browser would fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.links = [], "", []

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "img", "iframe", "object"), tag
        assert not [name for name, _ in attrs if name.startswith("on")], attrs
        for name, value in attrs:
            if name in ("href", "src", "xlink:href"):
                assert value.startswith("#") or tag == "a", value
                self.links += [value] if tag == "a" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag, tag

    def handle_data(self, data):
        self.text += data


def parsed(page):
    found = Strict()
    found.feed(page)
    assert not found.open and "@import" not in page and not re.search(r"url\((?!#)", page)
    return found


def drawn(rows=300):
    """Three labels, seven in ten right  # Scored."""
    random = np.random.default_rng(0)
    true = random.integers(0, 3, rows)
    first = np.where(random.random(rows) < 0.7, true, random.integers(0, 3, rows))
    sure = np.full(rows, 0.7)
    return Scored(
        best=np.column_stack([first, (first + 1) % 3, (first + 2) % 3]),
        scores=np.tile([0.7, 0.2, 0.1], (rows, 1)),
        true=true,
        p_true=sure,
        plain_score=sure,
        plain_p_true=sure,
        tokens=np.arange(rows) % 7 + 3,
        cut=np.zeros(rows, bool),
    )


@pytest.fixture(scope="module")
def story():
    rows = drawn()
    rows.cut[:40] = True
    beside = Beside({"majority": np.zeros((300, 3), int), "tfidf_logreg": rows.best}, np.arange(300) % 4 + 1.0)
    metrics = evaluate(rows, LABELS, beside, seed=0, temperature=1.5)
    metrics |= {"model_name": "m", "data_name": "d", "notices": []}
    share = {"value": 0.8, "low": 0.7, "high": 0.9}
    scores = {f"eval_{name}{end}": 0.8 for name in ("accuracy", "macro_f1") for end in ("", "_low", "_high")}
    rate = {"loss": 1.0, "learning_rate": 1e-3, "tokens_per_second": 900.0}
    run = {
        "model": {"name": "user/base", "commit": "c" * 40, "parameters": 9, "license": "mit"},
        "dataset": {"name": "/home/secretive/set", "commit": None, "fingerprint": "f" * 64, "license": None},
        "labels": LABELS,
        "rows": {"train": 900, "validation": 100, "test": 300},
        "recipe": {"learning_rate": 1e-3, "epochs": 2.0},
        "batches": {"token_budget": 4096, "accumulation": 1, "rows_of_a_step": 16.0},
        "truncation": {"kind": "head", "max_length": 16, "rows": 900, "rows_cut": 9, "tokens": 99, "tokens_cut": 9},
        "validation": {"steps": 20, "epochs": 2.0, "accuracy": share, "macro_f1": share}
        | {"temperature": 1.5, "log_loss_before": 0.9, "log_loss": 0.8},
        "workers": {
            "count": 1,
            "cpus_each": 2.0,
            "device": "cpu",
            "device_name": "CPU, threads: 2",
            "precision": "fp32",
        },
        "notices": [],
        "outputs": {"run": "/home/secretive/run"},
        "seed": 42,
        "config": {"hf_model_name": "user/mine", "class_weights": "none", "validation_fraction": 0.1},
        "seconds": {"train": 3.0},
        **provenance.record(),
    }
    prepared = {
        "rows_in": 2000,
        "splits": {"train": 1000, "test": 300},
        "removed": {"exact_duplicate": 690, "label_conflict": 10},
        "classes": {label: {} for label in LABELS},
        "proposed_merges": {"same_spelling": [], "conflicting": []},
        "looks_private": {"email": 0, "phone": 0, "card": 0},
        "config": {"on_conflict": "keep"},
    }
    history = [{"step": 10} | rate, {"step": 10, "eval_loss": 1.1} | scores, {"step": 20} | rate]
    return Story(prepared, run, [*history, {"step": 20, "eval_loss": 1.0} | scores], metrics)


def test_the_pages_are_whole_escaped_and_fetch_nothing(story):
    links = {"prepare": "prepare/p.html", "train": "train/r.html", "evaluate": "evaluate/e.html"}
    index = pages.index_page(story, links, {"prepare": 1.0}, "raypipe run --config x.toml", "a = '<b>'")
    train = pages.train_page(story.run, story.metrics, story.history)
    found = parsed(index), parsed(train)
    assert HOSTILE in found[0].text and "raypipe run --config x.toml" in found[0].text and "a = '<b>'" in found[0].text
    assert set(found[0].links) == set(links.values())
    assert index.count("<svg") == 4 and train.count("<svg") == 5
    for words in ("−690 (34.5%)", "2,000 raw rows", "tfidf_logreg", "macro-F1"):
        assert words in found[0].text, words
    for words in ("0.800 [0.700, 0.900]", "rows_of_a_step", "CPU, threads: 2", "Temperature 1.500", "log-loss"):
        assert words in found[1].text, words
    bare = Story(None, story.run, story.history, story.metrics)
    page = pages.index_page(bare, {k: v for k, v in links.items() if k != "prepare"}, {}, "", "")
    assert "raw rows" not in parsed(page).text


def said(story, **changes):
    """The hints after changes such as metrics__calibration__ece_after={...}."""
    parts = {name: copy.deepcopy(getattr(story, name)) for name in ("prepared", "run", "history", "metrics")}
    for path, value in changes.items():
        *place, last = path.split("__")
        target = parts
        for key in place:
            target = target[key]
        target[last] = value
    return {hint.said for hint in hints.next_steps(Story(**parts))}, hints.next_steps(Story(**parts))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metrics__baselines__tfidf_logreg__model_less_it": {"value": -0.1, "low": -0.2, "high": -0.05}}, "is worse"),
        ({"metrics__calibration__ece_after": {"value": 0.2, "low": 0.1, "high": 0.3}}, "not read the scores as prob"),
        ({"run__truncation__rows_cut": 90}, "90 training texts (10%) were cut at 16 tokens. On test, top-1 is"),
        ({"prepared__removed__label_conflict": 100}, "That is 5.0% of the raw rows"),
        ({"prepared__looks_private__email": 7}, "7 marks of e-mail"),
        ({"prepared__removed__near_duplicate": 9}, "9 rows left as near-duplicates"),
        ({"prepared__proposed_merges__same_spelling": [1]}, "1 group(s) of labels"),
        (
            {
                "prepared__proposed_merges__conflicting": [
                    {"labels": ["plain", "third_label"], "conflicts": 8, "line": "plain,third_label"}
                ]
            },
            "most often 'plain' and 'third_label' (8)",
        ),
        ({"metrics__near_copies": {"threshold": 0.8, "with": {"rows": 30}, "without": {"rows": 270}}}, "30 test rows"),
        ({"metrics__classes__plain__f1": 0.1}, "1 class(es) have an F1 below 0.5, lowest first: 'plain'"),
        ({"history": [{"eval_macro_f1": 0.5}, {"eval_macro_f1": 0.6}]}, "The last epoch was the best"),
    ],
)
def test_each_hint_comes_from_its_number(story, changes, words):
    without, _ = said(story)
    if "metrics__near_copies" in changes:
        changes["metrics__near_copies"]["without"]["model"] = story.metrics["model"]["top1"]
    found, _ = said(story, **changes)
    assert [hint for hint in found if words in hint] and not [hint for hint in without if words in hint], found


def test_what_is_always_worth_a_look(story):
    matrix = np.array(story.metrics["confusion"])
    np.fill_diagonal(matrix, 0)
    true, wrong = np.unravel_index(matrix.argmax(), matrix.shape)
    found, all_of_them = said(story)
    assert any(
        f"{matrix.max()} of " in hint and repr(LABELS[true]) in hint and repr(LABELS[wrong]) in hint for hint in found
    )
    assert any("hardest errors" in hint for hint in found)
    assert "raypipe audit --input-hf-dataset /home/secretive/set -o audit/set.jsonl" in [
        hint.command for hint in all_of_them
    ]
    assert any("is no better than" in hint for hint in found), "tfidf_logreg is right on the same rows here"


def test_the_model_card_is_read_back_by_the_hub_client(story):
    metrics = story.metrics
    card = ModelCard(cards.model_card(story.run, metrics))
    assert card.data.base_model == "user/base" and card.data.model_name == "mine" and card.data.datasets is None
    results = {(result.metric_type, result.metric_config): result for result in card.data.eval_results}
    expected = {("accuracy", None): "top1", ("accuracy", "top-3"): "top3", ("f1", "macro"): "macro_f1"}
    expected |= {("f1", "weighted"): "weighted_f1", ("matthews_correlation", None): "mcc"}
    assert results.keys() == expected.keys()
    for kind, key in expected.items():
        estimate = metrics["model"][key]
        assert results[kind].metric_value == pytest.approx(estimate["value"], abs=1e-6)
        low_high = [estimate["low"], estimate["high"]]
        assert results[kind].metric_args["interval_95"] == pytest.approx(low_high, abs=1e-6)
        assert results[kind].dataset_name == "set" and results[kind].dataset_split == "test"
    for words in ("| majority |", "| tfidf_logreg |", "f" * 64, "raypipe_temperature", "| user/base | " + "c" * 40):
        assert words in card.text, words
    assert "| mit |" in card.text and "| set | local folder | unknown |" in card.text
    assert "secretive" not in card.content and "<script" not in card.text.replace("\\<", "")
    assert "\\<script\\>alert('x')\\</script\\> \\| \\`a\\` \\& \\*b\\*" in card.text
    recall = class_scores(np.array(metrics["confusion"])).recall.min()
    assert f"{recall:.3f} [" in card.text.split("Found least often")[1]


def test_near_copies_stand_in_the_card(story):
    near = NearCopies(0.85, True, np.arange(300) < 30)
    metrics = evaluate(drawn(), LABELS, Beside(near_copies=near), seed=0)
    card = cards.model_card(story.run, metrics)
    assert "cosine of 0.85 or more to a training row (30 rows)" in card and "of cut test texts" not in card
