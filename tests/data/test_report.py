"""What prepare's report and page say beyond the counts, judged by the ledger and by plain Python."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from conftest import sentences
from test_prepare import line_of, with_conflicts


def near_rows(out):
    return [
        row
        for row in out["removed"]
        if row["reason"] == "near_duplicate" or (row["reason"] == "label_conflict" and row["detail"].startswith("near"))
    ]


CONTRASTS = [
    {"text": "pump shows error 4 on start", "label": "pump"},
    {"text": "pump shows error 5 on start", "label": "pump"},
    {"text": "Pump shows error on start!", "label": "valve"},
    {"text": "I can open the valve", "label": "valve"},
    {"text": "I can't open the valve", "label": "pump"},
    {"text": "The valve I can open", "label": "valve"},
    {"text": "something else for the split", "label": "pump"},
    {"text": "another row of its own", "label": "valve"},
]


@pytest.mark.parametrize("mode", ["keep", "drop", "majority"])
def test_removals_that_differ_only_in_digits_or_negation_are_counted(prepare_rows, mode):
    out = prepare_rows(CONTRASTS, on_conflict=mode, block_rows=2)
    found = out["report"]["differ_only_in"]
    # with drop the witnesses leave too, and each differs from its follower in the same way
    assert (found["digits"], found["negation"]) == ((3, 2) if mode == "drop" else (2, 1))
    pairs = {(line_of(e), line_of({"id": e["witness_id"]})) for e in found["examples"]["digits"]}
    assert pairs == {(1, 0), (2, 0)} | ({(0, 2)} if mode == "drop" else set())
    notices = [n for n in out["report"]["notices"] if "--token-pattern '(?u)\\b\\w+\\b'" in n]
    assert len(notices) == 1 and "only in digits" in notices[0] and "negation" in notices[0]
    page = (out["folder"] / "set_report.html").read_text()
    assert "I can&#39;t open the valve" in page and "pump shows error 5" in page


def test_the_remedy_works_and_says_no_more(prepare_rows):
    out = prepare_rows(CONTRASTS, token_pattern=r"(?u)\b\w+\b")
    assert out["report"]["differ_only_in"] == {"digits": 0, "negation": 0, "examples": {"digits": [], "negation": []}}
    assert not [n for n in out["report"]["notices"] if "--token-pattern" in n]


@pytest.mark.parametrize("mode", ["keep", "drop", "majority"])
def test_conflicting_labels_are_counted_from_the_ledger(prepare_rows, mode):
    rows = with_conflicts(sentences(300, seed=7))
    out = prepare_rows(rows, similarity_threshold=0.75, on_conflict=mode, block_rows=60)
    met = Counter()
    for row in out["removed"]:
        if row["reason"] == "label_conflict" and line_of({"id": row["witness_id"]}) < line_of(row):
            met[frozenset(rows[line_of(r)]["label"] for r in (row, {"id": row["witness_id"]}))] += 1
    merges = out["report"]["proposed_merges"]
    assert {frozenset(p["labels"]): p["conflicts"] for p in merges["conflicting"]} == met and met
    assert merges["conflicting_pairs"] == len(met) and merges["same_spelling"] == []
    sizes = Counter(row["label"] for row in rows)
    for pair in merges["conflicting"]:
        assert pair["share"] == {n: pytest.approx(pair["conflicts"] / sizes[n], abs=1e-6) for n in pair["labels"]}
        assert sizes[pair["labels"][0]] <= sizes[pair["labels"][1]] and pair["line"] == ",".join(pair["labels"])


def test_proposed_merges_are_a_label_map_that_is_not_applied(prepare_rows, tmp_path):
    spellings = ["lost card, stolen", "Lost_Card, stolen", "LOST card - stolen", "loan", "Loan", "-1", "1"]
    rows = [{"text": f"word{i} thing{i}", "label": spellings[i % 7]} for i in range(70)]
    rows.append({"text": "one more thing of this", "label": "Loan"})
    out = prepare_rows(rows)
    merges = out["report"]["proposed_merges"]
    assert [set(g["labels"]) for g in merges["same_spelling"]] == [set(spellings[:3]), {"loan", "Loan"}]
    assert merges["same_spelling"][1] == {"into": "Loan", "labels": {"Loan": 11, "loan": 10}}
    assert set(out["report"]["classes"]) == set(spellings), "a proposal is not applied"
    assert any("2 group(s) of labels" in notice for notice in out["report"]["notices"])
    (tmp_path / "map.csv").write_text(merges["label_map"])
    merged = prepare_rows(None, label_map=str(tmp_path / "map.csv"))["report"]
    assert set(merged["classes"]) == {g["into"] for g in merges["same_spelling"]} | {"-1", "1"}
    assert merged["proposed_merges"]["same_spelling"] == [] and merged["proposed_merges"]["label_map"] == "old,new\n"


def test_lengths_before_and_after(prepare_rows):
    rows = [
        *sentences(200, seed=8),
        {"text": "x" * 3000 + " long", "label": "garden"},
        '{"broken',
        {"text": " ", "label": "x"},
        {"text": "no label"},
    ]
    out = prepare_rows(rows, similarity_threshold=0.8, block_rows=33)
    texts = {"in": [r["text"] for r in rows[:201]], "kept": [r["text"] for r in out["train"] + out["test"]]}
    for unit, measure in (("characters", len), ("words", lambda text: len(text.split()))):
        found = out["report"]["text_lengths"][unit]
        for side, expected in texts.items():
            values = np.array(list(map(measure, expected)))
            told = found[side]
            assert told["rows"] == len(values) == sum(told["histogram"])
            assert (told["max"], told["mean"]) == (values.max(), round(values.mean(), 2))
            for percent, value in told["percentiles"].items():
                assert (values <= value).mean() >= int(percent) / 100 > (values < value).mean() - 1e-12
            assert told["histogram"] == np.histogram(values, found["edges"])[0].tolist()


def test_the_report_has_no_text_and_the_page_the_largest_groups(prepare_rows):
    rows = with_conflicts(sentences(300, seed=9))
    rows += [{"text": f"{'copper kettle ' * 5}whistle{n}", "label": "kitchen"} for n in range(15)]
    out = prepare_rows(rows, similarity_threshold=0.8)
    ledger = json.dumps(out["report"])
    assert not [row["text"] for row in rows if json.dumps(row["text"]) in ledger]
    page = (out["folder"] / "set_report.html").read_text()
    followers = Counter(row["witness_id"] for row in out["removed"] if row["witness_id"])
    shown = [int(n) for n in re.findall(r'class="tag">(\d+) left', page)]
    assert shown == sorted(followers.values(), reverse=True)[:10]
    assert max(followers.values()) == 14 and rows[-15]["text"] in page


@pytest.mark.parametrize("classes", [2, 500])
def test_the_page_holds_any_number_of_classes_without_scripts(prepare_rows, classes):
    names = [f"<i>class & {n}</i>" for n in range(classes)]
    rows = [{"text": f"<img src=x onerror=alert({i})> row{i}", "label": names[i % classes]} for i in range(2 * classes)]
    rows += [{"text": row["text"] + "!", "label": names[0]} for row in rows[:5]]
    out = prepare_rows(rows)
    page = (out["folder"] / "set_report.html").read_text()
    assert page.count("class &amp; ") >= classes and page.count('class="bar"') == classes
    assert "<i>class" not in page and "<img" not in page and "<script" not in page
    assert "&lt;img src=x onerror=alert(0)&gt;" in page
    assert not re.search(r'(?:src|href)="(?!#)', page) and "@import" not in page and "url(http" not in page
    assert "task_categories" in page and out["report"]["sha256"]["inputs"]["raw.jsonl"] in page
    assert len(page) < 600_000
