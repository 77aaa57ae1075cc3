"""The keep rule and label conflicts against loops that anyone can read."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from raypipe.core import keep, similarity, tfidf
from raypipe.core.keep import Verdict
from raypipe.core.text import canonical

FEW = settings(max_examples=100, deadline=None, derandomize=True)
COSINES = (0.8, 0.9, 0.9 + 1e-13, 0.95, 1 - 1e-12, 1 + 2e-16)


def oracle(texts: list[int], cosine: np.ndarray) -> list[tuple[int, float, bool] | None]:
    """For each row in order None where it stays, else its witness, similarity, and whether the text is the same.

    ``cosine`` is -1 below the threshold  # (rows, rows)
    """
    verdicts: list[tuple[int, float, bool] | None] = []
    kept: list[int] = []
    for row in range(len(texts)):
        same = [k for k in kept if texts[k] == texts[row]]
        near = [k for k in kept if cosine[row, k] >= 0]
        if same:
            verdicts.append((same[0], 1.0, True))
        elif near:
            witness = max(near, key=lambda k: (round(cosine[row, k], 9), -k))
            verdicts.append((witness, cosine[row, witness], False))
        else:
            verdicts.append(None)
            kept.append(row)
    return verdicts


def as_list(verdict: Verdict) -> list[tuple[int, float, bool] | None]:
    rows = zip(verdict.kept, verdict.witness.tolist(), verdict.similarity.tolist(), verdict.exact, strict=True)
    found: list[tuple[int, float, bool] | None] = []
    for kept, witness, cosine, exact in rows:
        if kept:
            assert witness == -1 and np.isnan(cosine) and not exact
        found.append(None if kept else (witness, cosine, bool(exact)))
    return found


def rule(vector: list[int], text: list[int], edges: dict[tuple[int, int], float]) -> Verdict:
    """The keep rule on edges between vectors."""
    size = max([*vector, -1]) + 1
    left, right = np.array(list(edges), np.int64).reshape(-1, 2).T
    graph = keep.symmetric(left, right, np.array(list(edges.values()), float), size)
    return keep.keep_rule(np.array(vector, np.int64), np.array(text, np.int64), *graph)


def by_row(vector: list[int], edges: dict[tuple[int, int], float]) -> np.ndarray:
    cosine = np.full((len(vector), len(vector)), -1.0)
    for i, a in enumerate(vector):
        for j, b in enumerate(vector):
            if a >= 0 and b >= 0:
                cosine[i, j] = 1.0 if a == b else edges.get((a, b), edges.get((b, a), -1.0))
    return cosine


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[int], list[int], dict[tuple[int, int], float]]:
    """Rows with a vector (-1: none), a canonical text, and edges between vectors; text and vector are independent:
    texts of one canonical form may have different vectors, and different texts the same."""
    size = draw(st.integers(1, 8))
    rows = draw(st.lists(st.tuples(st.integers(-1, size - 1), st.integers(0, 9)), max_size=16))
    pairs = [(i, j) for i in range(size) for j in range(i)]
    drawn = draw(st.lists(st.sampled_from((None, None, *COSINES)), min_size=len(pairs), max_size=len(pairs)))
    vectors = {v for v, _ in rows}
    edges = {p: c for p, c in zip(pairs, drawn, strict=True) if c is not None and p[0] in vectors and p[1] in vectors}
    return [v for v, _ in rows], [t for _, t in rows], edges


@FEW
@given(graphs())
def test_the_rule_equals_the_oracle(graph: tuple[list[int], list[int], dict[tuple[int, int], float]]) -> None:
    vector, text, edges = graph
    assert as_list(rule(vector, text, edges)) == oracle(text, by_row(vector, edges))


@FEW
@given(graphs())
def test_kept_rows_are_unlike_and_each_removed_row_has_an_earlier_kept_witness(
    graph: tuple[list[int], list[int], dict[tuple[int, int], float]],
) -> None:
    vector, text, edges = graph
    verdict = rule(vector, text, edges)
    cosine = by_row(vector, edges)
    kept = np.flatnonzero(verdict.kept)
    assert len({text[k] for k in kept}) == len(kept)
    assert (cosine[np.ix_(kept, kept)][~np.eye(len(kept), dtype=bool)] < 0).all()
    for row in np.flatnonzero(~verdict.kept):
        witness = verdict.witness[row]
        assert witness < row and verdict.kept[witness]
        assert text[witness] == text[row] if verdict.exact[row] else cosine[row, witness] >= 0


def unit_rows(texts: list[str]) -> sp.csr_matrix:
    counted = tfidf.count_terms(texts, tfidf.Analyzer())
    vocabulary = tfidf.Vocabulary()
    numbers = vocabulary.add(counted.terms, counted.document_frequency())
    return tfidf.unit_rows(counted.counts, numbers, vocabulary.weights(len(texts)))


WORDS = st.lists(st.sampled_from(["aa", "bb", "cc", "dd", "AA", "!"]), max_size=5)


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.9])
def test_texts_through_the_whole_ground_floor_equal_the_oracle(threshold: float) -> None:
    @settings(FEW, max_examples=50)
    @given(st.lists(st.tuples(WORDS, st.sampled_from([" ", "  ", ", "])), min_size=1, max_size=14))
    def law(drawn: list[tuple[list[str], str]]) -> None:
        texts = [gap.join(words) for words, gap in drawn]
        rows = unit_rows(texts)
        dense = (rows @ rows.T).toarray()
        assume((np.abs(dense - (threshold - 1e-9)) > 1e-12).all())
        pairs = similarity.self_join(rows, threshold)
        graph = keep.symmetric(*pairs, len(texts))
        vector = np.where(np.diff(rows.indptr) > 0, np.arange(len(texts)), -1)
        code = {form: i for i, form in enumerate(dict.fromkeys(map(canonical, texts)))}
        text = [code[canonical(t)] for t in texts]
        found = as_list(keep.keep_rule(vector, np.array(text), *graph))
        expected = oracle(text, np.where(dense >= threshold - 1e-9, dense, -1.0))
        assert [f and (f[0], f[2]) for f in found] == [e and (e[0], e[2]) for e in expected]
        for one, other in zip(found, expected, strict=True):
            assert one is None or one[1] == pytest.approx(other[1], abs=1e-12)

    law()


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.9])
def test_block_by_block_equals_all_pairs_at_once(threshold: float) -> None:
    """What data.dedup does with tasks, in a loop: the same verdict as the rule over the whole graph."""

    @settings(FEW, max_examples=60)
    @given(st.lists(WORDS, min_size=1, max_size=16), st.lists(st.integers(0, 4), min_size=16, max_size=16), st.data())
    def law(words: list[list[str]], texts: list[int], data: st.DataObject) -> None:
        rows = unit_rows([" ".join(w) for w in words])
        size = len(words)
        text = np.array(texts[:size]) + 100 * np.arange(size) * data.draw(st.booleans())
        text = np.unique(text, return_inverse=True)[1]
        cuts = sorted(data.draw(st.lists(st.integers(0, size), max_size=4)))
        blocks = [np.arange(a, b) for a, b in pairwise([0, *cuts, size])]
        near, kept = keep.Nearest(size), np.zeros(size, bool)
        for k, block in enumerate(blocks):
            for earlier in blocks[:k]:
                others = earlier[kept[earlier]]
                row, other, cosine = keep.nearest(similarity.cross_join(rows[block], rows[others], threshold))
                near.update(block[row], others[other], cosine)
            asks = ~np.isin(text[block], text[kept])
            block_rows = similarity.ready(rows[block], threshold)
            result = similarity.keep_join(block_rows, asks, text[block], near.row[block] >= 0)
            row, other, cosine = keep.nearest(result.pairs)
            near.update(block[row], block[other], cosine)
            kept[block[result.kept]] = True
        found = keep.verdict(text, kept, near.row, near.cosine)
        vector = np.where(np.diff(rows.indptr) > 0, np.arange(size), -1)
        graph = keep.symmetric(*similarity.self_join(rows, threshold), size)
        assert as_list(found) == as_list(keep.keep_rule(vector, text, *graph))

    law()


def test_a_chain_of_near_duplicates_is_not_contracted() -> None:
    size = 9
    chain = {(i + 1, i): 0.9 for i in range(size - 1)}
    verdict = rule(list(range(size)), list(range(size)), chain)
    assert np.flatnonzero(verdict.kept).tolist() == [0, 2, 4, 6, 8]
    assert verdict.witness[1::2].tolist() == [0, 2, 4, 6]


def test_a_chain_of_texts_is_not_contracted() -> None:
    words = [f"w{i:02}" for i in range(40)]
    texts = [" ".join(words[i : i + 20]) for i in range(0, 20, 2)]  # each shares 18 of 20 words with the next
    rows = unit_rows(texts)
    cosine = (rows @ rows.T).toarray()
    threshold = min(cosine[i, j] for i, j in pairwise(range(len(texts)))) - 1e-6
    graph = keep.symmetric(*similarity.self_join(rows, threshold), len(texts))
    verdict = keep.keep_rule(np.arange(len(texts)), np.arange(len(texts)), *graph)
    assert sp.csgraph.connected_components(sp.csr_matrix((graph[2], graph[1], graph[0])))[0] == 1
    assert verdict.kept.sum() > 1


def test_the_witness_is_the_most_similar_kept_row() -> None:
    assert as_list(rule([0, 1, 2], [0, 1, 2], {(2, 0): 0.91, (2, 1): 0.95}))[2] == (1, 0.95, False)


def test_a_tie_goes_to_the_earliest_kept_row() -> None:
    tie = {(2, 1): 0.9 + 1e-13, (2, 0): 0.9}  # equal but for the order of summation
    assert as_list(rule([0, 1, 2], [0, 1, 2], tie))[2] == (0, 0.9, False)
    # the vector's own number says nothing of the order of rows
    assert as_list(rule([2, 1, 0], [0, 1, 2], {(0, 1): 0.9, (0, 2): 0.9}))[2] == (0, 0.9, False)


def test_the_same_text_is_the_witness_before_anything_more_similar_or_earlier() -> None:
    # row 2 has row 1's text in other spacing, so its vector is its own, and it is closer to row 0
    assert as_list(rule([0, 1, 2], [0, 1, 1], {(2, 0): 0.99}))[2] == (1, 1.0, True)


def test_the_same_vector_ties_with_a_cosine_of_one_after_rounding() -> None:
    edges = {(1, 0): 1 - 1e-12}
    # row 2 has row 1's vector; row 1 went because of row 0, so row 0 is the only kept row
    assert as_list(rule([0, 1, 1], [0, 1, 2], edges))[2] == (0, 1 - 1e-12, False)
    assert as_list(rule([0, 0], [0, 1], {}))[1] == (0, 1.0, False)


def test_a_removed_row_is_no_witness_even_of_its_own_text() -> None:
    # row 1 leaves for row 0; row 2 has row 1's text but a vector far from row 0
    assert as_list(rule([0, 1, 2], [0, 1, 1], {(1, 0): 0.9})) == [None, (0, 0.9, False), None]


def test_rows_without_features_are_only_ever_exact_duplicates() -> None:
    assert as_list(rule([-1, -1, -1], [0, 1, 0], {})) == [None, None, (0, 1.0, True)]


def test_no_rows_at_all() -> None:
    verdict = rule([], [], {})
    assert [len(part) for part in verdict] == [0, 0, 0, 0]
    assert [len(part) for part in keep.settle(verdict, np.empty(0, np.int64), "majority")] == [0, 0, 0]


def settled(verdict: Verdict, label: list[int], mode: str) -> tuple[set[int], dict[int, int], list[int]]:
    """Conflicting rows, dropped witness -> its first conflicting row, and all labels, by the obvious loop."""
    conflicts, dropped, labels = set(), {}, list(label)
    for witness in np.flatnonzero(verdict.kept).tolist():
        followers = [r for r in range(len(label)) if not verdict.kept[r] and verdict.witness[r] == witness]
        unlike = [r for r in followers if label[r] != label[witness]]
        conflicts |= set(unlike)
        if not unlike:
            continue
        if mode == "drop":
            dropped[witness] = min(unlike)
        elif mode == "majority":
            votes = Counter([label[witness], *(label[r] for r in followers)])
            leaders = [code for code, count in votes.items() if count == max(votes.values())]
            labels[witness] = leaders[0] if len(leaders) == 1 else label[witness]
    return conflicts, dropped, labels


@pytest.mark.parametrize("mode", ["keep", "drop", "majority"])
def test_settling_equals_the_oracle(mode: str) -> None:
    @FEW
    @given(graphs(), st.lists(st.integers(0, 3), min_size=16, max_size=16))
    def law(graph: tuple[list[int], list[int], dict[tuple[int, int], float]], drawn: list[int]) -> None:
        vector, text, edges = graph
        verdict = rule(vector, text, edges)
        label = np.array(drawn[: len(vector)], np.int64)
        before = label.copy()
        conflicts, dropped, labels = settled(verdict, label.tolist(), mode)
        result = keep.settle(verdict, label, mode)
        assert set(np.flatnonzero(result.conflict).tolist()) == conflicts
        assert {int(w): int(result.dropped[w]) for w in np.flatnonzero(result.dropped >= 0)} == dropped
        assert result.label.tolist() == labels
        assert (label == before).all()

    law()


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 1, 1], 1),  # two against its own
        ([0, 1, 0], 0),
        ([0, 1], 0),  # one to one: its own
        ([0, 1, 1, 2, 2], 0),  # others tie above it: its own
        ([2, 0, 0, 2, 1], 2),
    ],
)
def test_the_majority_and_its_ties(labels: list[int], expected: int) -> None:
    verdict = rule([0] * len(labels), [0] * len(labels), {})
    result = keep.settle(verdict, np.array(labels), "majority")
    assert result.label.tolist() == [expected, *labels[1:]]
    assert (result.dropped == -1).all()


def test_drop_takes_the_witness_and_revives_nobody() -> None:
    verdict = rule([0, 0, 0, 0, 1], [0, 1, 2, 3, 4], {})
    result = keep.settle(verdict, np.array([0, 0, 2, 1, 0]), "drop")
    assert result.dropped.tolist() == [2, -1, -1, -1, -1]
    assert result.conflict.tolist() == [False, False, True, True, False]
    assert verdict.kept.tolist() == [True, False, False, False, True]
