"""Texts that differ only in digits, or only in a negation word: similar by TF-IDF, and yet with another meaning.

"error 4" and "error 5" are equal to the word analyzer, for which one character is no term; so are "can I pay" and
"I can't pay", whose t is dropped; "not" is a term, but a frequent one of small weight. Each text gives two parts and
two rests, as hashes: two texts differ only in digits when what remains without digits is equal and the digits are not,
and likewise for negation words. Case, punctuation and the order of words do not count, as they do not for the analyzer.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable

import numpy as np

from raypipe.core.text import UNSPACED

KINDS = ("digits", "negation")

# What negates a sentence in the languages that classifiers meet most. Left out: words that are as often something
# else (Italian "mai", which is May in French and German; French "plus"), and prefixes and suffixes.
_NEGATIONS_BY_LANGUAGE = {
    "English": "no not never none nobody nothing nowhere neither nor without",
    "German": "nicht kein keine keinen keinem keiner keines nie niemals niemand nichts ohne nein",
    "French": "ne pas jamais rien aucun aucune sans non ni",
    "Spanish": "no nunca jamás nada nadie ningún ninguno ninguna sin ni tampoco",
    "Italian": "non nessun nessuno nessuna niente nulla senza",
    "Portuguese": "não nunca nada ninguém nenhum nenhuma nem sem",
    "Dutch": "niet geen nooit niets niemand zonder nee",
    "Polish": "nie nigdy nic nikt bez",
    "Russian": "не нет никогда ничего никто без ни",
    "Turkish": "değil yok hayır",
    "Arabic": "لا لم لن ليس ليست بدون",
    "Hindi": "नहीं मत बिना",
    "Indonesian": "tidak bukan belum tanpa",
    "Vietnamese": "không chưa",
    "Korean": "안 못",
    "Chinese": "不 没 沒 未 无 無",  # a character of a script without spaces is a token of its own
}
NEGATIONS = frozenset(word for words in _NEGATIONS_BY_LANGUAGE.values() for word in words.split())

_AUXILIARIES = "is are was were has have had do does did could would should must need might"
_NEGATED = {f"{auxiliary}n't": auxiliary for auxiliary in _AUXILIARIES.split()} | {"can't": "can", "won't": "will"}
_NEGATED |= {"shan't": "shall", "ain't": "is", "mayn't": "may"}
# "can't", "cant" and "cannot" are one word with "can not".
_CONTRACTED = _NEGATED | {word.replace("'", ""): auxiliary for word, auxiliary in _NEGATED.items()} | {"cannot": "can"}
_DO_SUPPORT = frozenset({"do", "does", "did"})  # comes and goes with a negation: "I want", "I do not want"
_ELIDED = {"n'": "ne", "j'": "je"}  # French: "je n'ai pas" without its negation is "j'ai"

_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ＇`´", "'"))
_DIGITS = re.compile(r"\d+")


class _Separators(dict[int, int]):
    """A table for str.translate: letters, marks, numbers, symbols and apostrophes stay, all else is a space."""

    def __missing__(self, code: int) -> int:
        stays = unicodedata.category(chr(code))[0] in "LMNS" or code == ord("'")
        self[code] = code if stays else ord(" ")
        return self[code]


_SEPARATORS = _Separators()


def tokens(text: str) -> list[str]:
    """The words of a text, case folded, with contracted negations written out; "4" is a word too."""
    folded = unicodedata.normalize("NFC", text).casefold().translate(_APOSTROPHES).translate(_SEPARATORS)
    if not folded.isascii():
        folded = UNSPACED.sub(r" \g<0> ", folded)
    return [token for word in folded.split() for token in _written_out(word.strip("'"))]


def _written_out(word: str) -> Iterable[str]:
    if word in _CONTRACTED:
        return _CONTRACTED[word], "not"
    if word[:2] in _ELIDED and len(word) > 2:
        return _ELIDED[word[:2]], word[2:]
    return (word,) if word else ()


def fingerprint(text: str) -> tuple[int, int, int, int]:
    """Four 64-bit hashes: the digits and the rest, the negation words and the rest; the digits in their order."""
    words = tokens(text)
    without_digits = filter(None, (_DIGITS.sub("", word) for word in words))
    without_negation = (word for word in words if word not in NEGATIONS and word not in _DO_SUPPORT)
    return (
        _hash(" ".join(_DIGITS.findall(" ".join(words)))),
        _hash(" ".join(sorted(without_digits))),
        _hash(" ".join(sorted(word for word in words if word in NEGATIONS))),
        _hash(" ".join(sorted(without_negation))),
    )


def token_hashes(text: str) -> dict[int, str]:
    """The distinct tokens of a text by their 64-bit hash."""
    return {_hash(token): token for token in tokens(text)}


def fingerprints(texts: Iterable[str]) -> np.ndarray:
    """``fingerprint`` of each text  # (texts, 4) int64."""
    return np.array([fingerprint(text) for text in texts], np.int64).reshape(-1, 4)


def differ_only_in(left: np.ndarray, right: np.ndarray) -> dict[str, np.ndarray]:
    """For each kind whether two texts differ in it and in nothing else, from fingerprints  # (pairs, 4) -> (pairs,)."""
    same = left == right
    return {kind: ~same[:, 2 * i] & same[:, 2 * i + 1] for i, kind in enumerate(KINDS)}


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
