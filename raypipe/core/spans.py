"""Terms as spans of code points, by scikit-learn's rules for its word, char and char_wb analyzers.

Lower-casing, regular expressions and white space are Python's own, so that they agree to the letter. The texts then
become one array of code points in which every term is a span: tokens are laid out with one space between them, so
that a word n-gram is a span as well.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numba import njit

_SPACE = 32
_RUNS_OF_SPACE = re.compile(r"\s\s+")  # scikit-learn's char analyzers collapse these, and leave a lone tab or newline
Spans = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # codes, start and stop of each span, spans by row (ends)


def spans_of(texts: Sequence[str], kind: str, ngram_range: tuple[int, int], token_pattern: str | None) -> Spans:
    """The terms of each text, in order, as CountVectorizer with these settings finds them."""
    lowered = [text.lower() for text in texts]
    if kind == "word":
        return _word_spans(lowered, ngram_range, token_pattern)
    if kind == "char":
        return _char_spans([_RUNS_OF_SPACE.sub(" ", text) for text in lowered], ngram_range)
    return _padded_spans([f" {'  '.join(words)} " if (words := text.split()) else "" for text in lowered], ngram_range)


def _codes(texts: Iterable[str]) -> np.ndarray:
    return np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)


def _ends(lengths: Iterable[int]) -> np.ndarray:
    return np.cumsum(np.fromiter(lengths, np.int64))


def _word_spans(texts: Sequence[str], ngram_range: tuple[int, int], token_pattern: str | None) -> Spans:
    if token_pattern is None:  # scikit-learn's (?u)\b\w\w+\b: the runs of at least two word characters
        codes = _codes(texts)
        starts, stops, ends = _runs(codes, _ends(map(len, texts)), _is_word(codes))
    else:
        rows = [re.findall(token_pattern, text) for text in texts]
        tokens = [token for row in rows for token in row]
        codes, stops = _codes(tokens), _ends(map(len, tokens))
        starts, ends = stops - np.fromiter(map(len, tokens), np.int64, len(tokens)), _ends(map(len, rows))
    if ngram_range == (1, 1):
        return codes, starts, stops, ends
    codes, starts, stops = _spaced(codes, starts, stops)
    return (codes, *_word_ngrams(starts, stops, ends, *ngram_range))


def _char_spans(texts: Sequence[str], ngram_range: tuple[int, int]) -> Spans:
    codes, ends = _codes(texts), _ends(map(len, texts))
    return (codes, *_ngrams(ends, np.arange(len(ends) + 1), *ngram_range, False))


def _padded_spans(texts: Sequence[str], ngram_range: tuple[int, int]) -> Spans:
    codes = _codes(texts)
    word_ends, words_by_row = _padded_words(codes, _ends(map(len, texts)))
    return (codes, *_ngrams(word_ends, words_by_row, *ngram_range, True))


def _is_word(codes: np.ndarray) -> np.ndarray:
    r"""Which code points match \w, by asking Python about those that occur  # (largest + 1,) bool."""
    table = np.zeros(int(codes.max(initial=0)) + 1, np.bool_)
    table[codes] = True
    points = np.flatnonzero(table)
    table[points] = [chr(point).isalnum() or chr(point) == "_" for point in points.tolist()]
    return table


@njit(cache=True)
def _runs(codes, ends, is_word):  # type: ignore[no-untyped-def]
    """Start and stop of each run of two or more word characters, and how many runs end with each row."""
    starts = np.empty(len(codes) // 2 + 1, np.int64)
    stops = np.empty(len(codes) // 2 + 1, np.int64)
    by_row = np.empty(len(ends), np.int64)
    found, start = 0, 0
    for row in range(len(ends)):
        at = start
        while at < ends[row]:
            first = at
            while at < ends[row] and is_word[codes[at]]:
                at += 1
            if at - first >= 2:
                starts[found], stops[found] = first, at
                found += 1
            at += 1
        by_row[row] = found
        start = ends[row]
    return starts[:found], stops[:found], by_row


@njit(cache=True)
def _spaced(codes, starts, stops):  # type: ignore[no-untyped-def]
    """The tokens laid out with one space after each."""
    out = np.empty((stops - starts).sum() + len(starts), np.uint32)
    new_starts, new_stops = np.empty_like(starts), np.empty_like(stops)
    at = 0
    for token in range(len(starts)):
        new_starts[token] = at
        for i in range(starts[token], stops[token]):
            out[at] = codes[i]
            at += 1
        new_stops[token] = at
        out[at] = _SPACE
        at += 1
    return out, new_starts, new_stops


@njit(cache=True)
def _word_ngrams(starts, stops, ends, low, high):  # type: ignore[no-untyped-def]
    """Spans of low to high neighbouring tokens of a row."""
    room = len(starts) * (high - low + 1)
    out_starts, out_stops = np.empty(room, np.int64), np.empty(room, np.int64)
    out_ends = np.empty_like(ends)
    found, first = 0, 0
    for row in range(len(ends)):
        for n in range(low, high + 1):
            for token in range(first, ends[row] - n + 1):
                out_starts[found], out_stops[found] = starts[token], stops[token + n - 1]
                found += 1
        out_ends[row] = found
        first = ends[row]
    return out_starts[:found], out_stops[:found], out_ends


@njit(cache=True)
def _padded_words(codes, ends):  # type: ignore[no-untyped-def]
    """Where each word of " one  two " ends, its spaces included, and the words before each row and after the last."""
    word_ends = np.empty(len(codes) // 2 + 1, np.int64)
    by_row = np.zeros(len(ends) + 1, np.int64)
    found, at = 0, 0
    for row in range(len(ends)):
        while at < ends[row]:
            at += 1
            while codes[at] != _SPACE:
                at += 1
            at += 1
            word_ends[found] = at
            found += 1
        by_row[row + 1] = found
    return word_ends[:found], by_row


@njit(cache=True)
def _ngrams(region_ends, regions_by_row, low, high, short_ones):  # type: ignore[no-untyped-def]
    """Spans of low to high characters inside regions; with ``short_ones`` a region shorter than n counts once whole."""
    room, start = 0, 0
    for end in region_ends:
        room += (end - start) * (high - low + 1) + 1
        start = end
    starts, stops = np.empty(room, np.int64), np.empty(room, np.int64)
    out_ends = np.empty(len(regions_by_row) - 1, np.int64)
    found, start = 0, 0
    for row in range(len(regions_by_row) - 1):
        for region in range(regions_by_row[row], regions_by_row[row + 1]):
            end = region_ends[region]
            for n in range(low, high + 1):
                if n >= end - start and short_ones:
                    starts[found], stops[found] = start, end
                    found += 1
                    break
                for at in range(start, end - n + 1):
                    starts[found], stops[found] = at, at + n
                    found += 1
            start = end
        out_ends[row] = found
    return starts[:found], stops[:found], out_ends
