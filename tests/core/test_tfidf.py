"""Sharded TF-IDF against scikit-learn's TfidfVectorizer in one piece."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from raypipe.core import terms
from raypipe.core.tfidf import Analyzer, TermCounts, Vocabulary, count_terms, unit_rows

FEW = settings(max_examples=60, deadline=None, derandomize=True)
ANALYZERS = {
    "word": Analyzer(),
    "word_2_3": Analyzer("word", (2, 3)),
    "word_1_2": Analyzer("word", (1, 2)),
    "every_token": Analyzer("word", (1, 1), r"(?u)\b\w+\b"),
    "one_group": Analyzer("word", (1, 1), r"(\w\w)\w*"),
    "char": Analyzer("char", (2, 3)),
    "char_1_4": Analyzer("char", (1, 4)),
    "char_wb": Analyzer("char_wb", (3, 5)),
    "char_wb_1_4": Analyzer("char_wb", (1, 4)),
}
TEXTS = st.lists(
    st.text("abcAB é\u0e01日 1_-\n", max_size=25) | st.sampled_from(["", " ", "a", "the cat", "the cat sat"]),
    min_size=1,
    max_size=10,
)
CUTS = st.lists(st.integers(0, 10), max_size=4)
POEM = [
    "The cat sat on the mat",
    "the cat, the cat, the CAT!",
    "",
    "Größe zählt: 12_34 and naïve café",
    "ฉันรักภาษาไทย 漢字かな",
    "x y z",
    "a mat for a cat",
]


def shards_of(texts: list[str], cuts: list[int]) -> list[list[str]]:
    """The texts cut at these places; a place twice makes an empty shard."""
    ends = sorted(min(cut, len(texts)) for cut in cuts)
    return [texts[a:b] for a, b in zip([0, *ends], [*ends, len(texts)], strict=True)]


class Fitted:
    """The global vocabulary of some shards."""

    def __init__(self, shards: list[list[str]], analyzer: Analyzer) -> None:
        self.counted = [count_terms(shard, analyzer) for shard in shards]
        self.vocabulary = Vocabulary()
        for counted in self.counted:
            self.vocabulary.add(counted.terms, counted.document_frequency())
        self.weights = self.vocabulary.weights(sum(map(len, shards)))
        self.idf = self.weights.idf
        terms = list(dict.fromkeys(term for counted in self.counted for term in counted.terms))
        columns = dict(zip(terms, self.weights.column[self.vocabulary.numbers(terms)].tolist(), strict=True))
        self.column = {term: columns[term] for term in sorted(columns, key=columns.__getitem__)}

    def unit_rows(self, counted: TermCounts) -> sp.csr_matrix:
        return unit_rows(counted.counts, self.vocabulary.numbers(counted.terms), self.weights)


def sharded(shards: list[list[str]], analyzer: Analyzer) -> tuple[sp.csr_matrix, Fitted]:
    fitted = Fitted(shards, analyzer)
    return sp.vstack([fitted.unit_rows(c) for c in fitted.counted], format="csr"), fitted


def judge(analyzer: Analyzer) -> TfidfVectorizer:
    pattern = {} if analyzer.token_pattern is None else {"token_pattern": analyzer.token_pattern}
    return TfidfVectorizer(analyzer=analyzer.kind, ngram_range=analyzer.ngram_range, **pattern)


def aligned(matrix: sp.csr_matrix, vectorizer: TfidfVectorizer, vocabulary: Fitted) -> np.ndarray:
    """scikit-learn's matrix in the columns of ours."""
    return matrix[:, [vectorizer.vocabulary_[term] for term in vocabulary.column]].toarray()


def assert_equals_sklearn(shards: list[list[str]], analyzer: Analyzer) -> None:
    texts = [text for shard in shards for text in shard]
    ours, vocabulary = sharded(shards, analyzer)
    vectorizer = judge(analyzer)
    try:
        theirs = vectorizer.fit_transform(texts)
    except ValueError as error:
        assert "empty vocabulary" in str(error)
        assert ours.shape == (len(texts), 0)
        return
    assert set(vocabulary.column) == set(vectorizer.vocabulary_)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours.toarray(), aligned(theirs, vectorizer, vocabulary), rtol=0, atol=1e-12)
    idf = [vectorizer.idf_[vectorizer.vocabulary_[term]] for term in vocabulary.column]
    np.testing.assert_allclose(vocabulary.idf, idf, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ANALYZERS)
def test_any_sharding_equals_sklearn(name: str) -> None:
    @FEW
    @given(TEXTS, CUTS)
    def law(texts: list[str], cuts: list[int]) -> None:
        assert_equals_sklearn(shards_of(texts, cuts), ANALYZERS[name])

    law()


@pytest.mark.parametrize("name", ANALYZERS)
def test_a_poem_cut_everywhere_equals_sklearn(name: str) -> None:
    assert_equals_sklearn([[text] for text in POEM], ANALYZERS[name])
    assert_equals_sklearn([POEM], ANALYZERS[name])


@FEW
@given(TEXTS, CUTS)
def test_a_row_is_the_same_to_the_last_bit_under_any_sharding(texts: list[str], cuts: list[int]) -> None:
    whole, vocabulary = sharded([texts], Analyzer("char", (1, 2)))
    parts, again = sharded(shards_of(texts, cuts), Analyzer("char", (1, 2)))
    assert list(vocabulary.column) == list(again.column)
    for one, other in ((whole.indptr, parts.indptr), (whole.indices, parts.indices), (whole.data, parts.data)):
        assert one.tobytes() == other.astype(one.dtype).tobytes()


@FEW
@given(TEXTS)
def test_rows_are_unit_or_empty_with_columns_ascending_from_rare_to_frequent(texts: list[str]) -> None:
    rows, vocabulary = sharded([texts], ANALYZERS["every_token"])
    norms = np.sqrt((rows.toarray() ** 2).sum(axis=1))
    lengths = np.diff(rows.indptr)
    np.testing.assert_allclose(norms, (lengths > 0).astype(float), atol=1e-12)
    for start, end in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
        assert (np.diff(rows.indices[start:end]) > 0).all()
    assert list(vocabulary.column.values()) == list(range(len(vocabulary.column)))
    assert (np.diff(np.bincount(rows.indices, minlength=len(vocabulary.column))) >= 0).all()


@pytest.mark.parametrize("name", ANALYZERS)
def test_terms_outside_the_vocabulary_are_dropped_as_by_transform(name: str) -> None:
    analyzer = ANALYZERS[name]
    vocabulary = Fitted([POEM[:4], POEM[4:]], analyzer)
    vectorizer = judge(analyzer).fit(POEM)
    new = ["the unseen dog sat", "qqqqqq", "", "cat cat zebra", "ภาษาอังกฤษ"]
    ours = vocabulary.unit_rows(count_terms(new, analyzer))
    np.testing.assert_allclose(
        ours.toarray(), aligned(vectorizer.transform(new), vectorizer, vocabulary), rtol=0, atol=1e-12
    )
    assert (ours[1].nnz == 0) == (name != "char_wb_1_4")  # there a lone space is a term that every text has
    assert ours[2].nnz == 0


def test_texts_without_features_count_in_the_idf_and_have_empty_rows() -> None:
    rows, vocabulary = sharded([["!", "x"], [], ["alpha beta", "alpha"], [""]], Analyzer())
    assert np.diff(rows.indptr).tolist() == [0, 0, 2, 1, 0]
    assert vocabulary.idf[vocabulary.column["beta"]] == pytest.approx(np.log(6 / 2) + 1, abs=1e-15)
    assert vocabulary.idf[vocabulary.column["alpha"]] == pytest.approx(np.log(6 / 3) + 1, abs=1e-15)
    assert np.isfinite(rows.data).all()


def test_empty_shards_and_no_text_at_all() -> None:
    empty = count_terms([], Analyzer())
    assert empty.counts.shape == (0, 0)
    assert empty.document_frequency().tolist() == []
    assert Fitted([["alpha beta"]], Analyzer()).unit_rows(empty).shape == (0, 2)
    rows, nothing = sharded([[], ["!"], []], Analyzer())
    assert rows.shape == (1, 0) and nothing.column == {}
    assert nothing.unit_rows(count_terms(["alpha"], Analyzer())).shape == (1, 0)


def test_document_frequency_counts_a_text_once() -> None:
    counted = count_terms(["cat cat cat", "cat dog"], Analyzer())
    assert dict(zip(counted.terms, counted.document_frequency().tolist(), strict=True)) == {"cat": 2, "dog": 1}
    assert counted.counts.toarray()[0, counted.terms.index("cat")] == 3


@pytest.mark.parametrize("name", ANALYZERS)
def test_texts_longer_than_a_chunk_equal_sklearn(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terms, "CHUNK_CHARACTERS", 40)  # so that the dictionary grows over many chunks
    random = np.random.default_rng(5)
    letters = list("abcdefghij    éß日\n\t0_")
    texts = ["".join(random.choice(letters, random.integers(0, 120))) for _ in range(150)]
    assert_equals_sklearn([texts[:70], texts[70:]], ANALYZERS[name])


def test_every_code_point_is_a_word_character_or_not_as_python_says() -> None:
    points = [chr(point) for point in range(0x20000) if not 0xD800 <= point < 0xE000]
    texts = ["".join(points[start : start + 64]) for start in range(0, len(points), 64)]
    texts += [f"x{point}y" for point in points[::7]]
    assert set(count_terms(texts, Analyzer()).terms) == set(TfidfVectorizer().fit(texts).vocabulary_)


def test_many_terms_grow_the_dictionary() -> None:
    texts = [" ".join(f"w{i * 37 + j}" for j in range(50)) for i in range(400)]  # 14,813 terms; it starts with 1,024
    assert_equals_sklearn([texts], Analyzer())
