"""Label rules through the whole prepare: map, filter, rare classes, and conflicts against an obvious loop."""

import random
from collections import Counter, defaultdict

import pytest
from conftest import sentences
from sklearn.feature_extraction.text import TfidfVectorizer

from raypipe import ConfigError, DataError
from raypipe.core import text as core_text
from raypipe.data.labels import read_label_map


def texts(label, count):
    return [{"text": f"{label}w{i} {label}v{i} {label}u{i}", "label": label} for i in range(count)]


def test_a_label_map_goes_one_step_and_comes_before_the_filter(prepare_rows, tmp_path, capfd):
    rows = [r for label, n in (("a", 4), ("b", 5), ("c", 6), ("d", 7), ("e", 1), ("f", 1)) for r in texts(label, n)]
    rows += texts("7", 3)
    (tmp_path / "map.csv").write_bytes("\ufeffold,new\r\na,b\r\nb,c\r\n\r\n d , spam \r\ne,f\r\n7,c\r\n".encode())
    out = prepare_rows(
        rows, label_map=str(tmp_path / "map.csv"), labels_to_filter=(" spam ", "d", "cc"), min_class_rows=2
    )
    kept = Counter((r["text"][0], r["label"]) for r in out["train"] + out["test"])
    assert kept == {("a", "b"): 4, ("b", "c"): 5, ("c", "c"): 6, ("e", "f"): 1, ("f", "f"): 1, ("7", "c"): 3}
    assert [(r["label"], r["reason"]) for r in out["removed"]] == [("spam", "filtered_label")] * 7
    assert {name: c["in"] for name, c in out["report"]["classes"].items()} == {"b": 4, "c": 14, "f": 2, "spam": 7}
    said = capfd.readouterr().err
    assert "the label 'd' of --labels-to-filter never occurs" in said, "d is called spam by then"
    assert "the label 'cc' of --labels-to-filter never occurs did you mean 'c'?" in said and "'spam' of" not in said


def test_label_maps_that_are_refused(tmp_path):
    path = tmp_path / "map.csv"
    for content in (b"", b"from,to\na,b\n", b"old,new\na\n", b"old,new\na,b\na,c\n", b"old,new\na, \n", b"\xff\xfeo"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="--label-map"):
            read_label_map(str(path))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_label_map(str(tmp_path / "none.csv"))
    path.write_text('old,new\n"a, b","c ""d"""\na,b\na,b\n')
    assert read_label_map(str(path)) == {"a, b": 'c "d"', "a": "b"}


def test_classes_that_the_rules_leave(prepare_rows):
    rows = [*texts("a", 5), *texts("b", 2), *texts("c", 1)]
    with pytest.raises(DataError, match="1 class left after the label rules"):
        prepare_rows(rows, min_class_rows=3)
    with pytest.raises(DataError, match="0 classes left"):
        prepare_rows(rows, labels_to_filter=("a", "b", "c"))
    # rare is counted with duplicates, before they leave
    out = prepare_rows([*rows, rows[-1], rows[-1]], min_class_rows=3, labels_to_filter=("b",))
    assert out["report"]["classes"]["c"] == {"in": 3, "train": 1, "test": 0}
    assert out["report"]["removed"] == {"filtered_label": 2, "exact_duplicate": 2}


def settled(rows, threshold, mode):
    """Kept row -> label, and removed row -> (reason, witness, detail), by the words of the contract."""
    plain = [core_text.canonical(row["text"]) for row in rows]
    X = TfidfVectorizer().fit_transform(row["text"] for row in rows)
    S = (X @ X.T).toarray()
    kept, removed, followers = {}, {}, defaultdict(list)
    for i, row in enumerate(rows):
        same = [k for k in kept if plain[k] == plain[i]]
        near = [k for k in kept if S[i, k] >= threshold - 1e-9]
        if not same and not near:
            kept[i] = row["label"]
            continue
        witness = same[0] if same else max(near, key=lambda k: (round(S[i, k], 9), -k))
        followers[witness].append(i)
        kind = "exact" if same else "near"
        conflict = rows[witness]["label"] != row["label"]
        removed[i] = ("label_conflict" if conflict else f"{kind}_duplicate", witness, kind if conflict else None)
    for witness, rest in followers.items():
        own = rows[witness]["label"]
        against = [i for i in rest if rows[i]["label"] != own]
        votes = Counter([own, *(rows[i]["label"] for i in rest)]).most_common()
        if mode == "drop" and against:
            del kept[witness]
            removed[witness] = ("label_conflict", against[0], removed[against[0]][2])
        alone = len(votes) == 1 or votes[0][1] > votes[1][1]
        if mode == "majority" and alone and votes[0][0] != own:
            kept[witness] = votes[0][0]
            for i in rest:
                reason, by, detail = removed[i]
                removed[i] = (reason, by, "; ".join(filter(None, [detail, f"witness relabelled from {own!r}"])))
    return kept, removed


@pytest.mark.parametrize("mode", ["keep", "drop", "majority"])
def test_conflicts_equal_the_words_of_the_contract(prepare_rows, mode):
    """Copies, near-copies and chains of them, with labels drawn anew."""
    rng = random.Random(21)
    rows = sentences(90, seed=21)
    for _ in range(120):
        text = rng.choice(rows)["text"] + rng.choice([" ", "!", " extra", " \t "])
        rows.append({"text": text, "label": rng.choice(["billing", "travel", "travel", "travel"])})
    rng.shuffle(rows)
    out = prepare_rows(rows, on_conflict=mode, similarity_threshold=0.85, block_rows=37)
    kept, removed = settled(rows, 0.85, mode)
    assert {int(r["id"].split(":")[1]) - 1: r["label"] for r in out["train"] + out["test"]} == kept
    ledger = {
        int(r["id"].split(":")[1]) - 1: (r["reason"], int(r["witness_id"].split(":")[1]) - 1, r["detail"])
        for r in out["removed"]
    }
    assert ledger == removed
    reasons = Counter(reason for reason, _, _ in removed.values())
    assert min(reasons[r] for r in ("exact_duplicate", "near_duplicate", "label_conflict")) > 10
    assert mode != "majority" or out["report"]["relabelled_by_majority"] >= 3
