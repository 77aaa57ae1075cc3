"""The canonical form of a text, its key, and its letters."""

import hashlib
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.core.text import canonical, key, letters

FEW = settings(max_examples=100, deadline=None, derandomize=True)
# No/Nl: superscripts and fractions are neither letters nor decimal digits; letters() is about scripts
LETTERS_AND_MORE = st.text(st.characters(exclude_categories=("Cs", "No", "Nl")), max_size=40)
SPACES = " \t\n\r\x0b\x0c\x1c\x85\u00a0\u1680\u2003\u2028\u202f\u205f\u3000"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("cafe\u0301", "caf\u00e9"),
        ("\u212b", "\u00c5"),  # the Angstrom sign is the letter
        ("\ufb01", "\ufb01"),  # NFC, not NFKC: a ligature stays
        ("  a \t\n b\u00a0\u3000c\u2028", "a b c"),
        ("Mixed CASE", "Mixed CASE"),
        (SPACES, ""),
        ("a\u200bb", "a\u200bb"),  # a zero-width space is no white space
        ("", ""),
    ],
)
def test_canonical_is_nfc_with_single_spaces_and_its_case(raw: str, expected: str) -> None:
    assert canonical(raw) == expected


@FEW
@given(st.text(st.characters(exclude_categories=("Cs",)) | st.sampled_from(SPACES), max_size=40))
def test_canonical_is_idempotent_and_nfc(raw: str) -> None:
    form = canonical(raw)
    assert canonical(form) == form
    assert unicodedata.is_normalized("NFC", form)
    assert form.split() == unicodedata.normalize("NFC", raw).split()
    assert form == " ".join(form.split())


@FEW
@given(st.lists(st.text("abAB\u00e9", min_size=1, max_size=5), min_size=1, max_size=5), st.data())
def test_texts_that_differ_in_spaces_and_composition_share_a_key(words: list[str], data: st.DataObject) -> None:
    gaps = [data.draw(st.text(SPACES, min_size=1, max_size=3)) for _ in words]
    spread = "".join(gap + unicodedata.normalize("NFD", word) for gap, word in zip(gaps, words, strict=True))
    assert key(canonical(spread)) == key(canonical(" ".join(words)))


@FEW
@given(st.text("aAb e\u0301\u00e9", max_size=6), st.text("aAb e\u0301\u00e9", max_size=6))
def test_keys_are_equal_exactly_where_canonical_texts_are(one: str, other: str) -> None:
    assert (key(canonical(one)) == key(canonical(other))) == (canonical(one) == canonical(other))


@pytest.mark.parametrize("text", ["", "a", "A", "\u0e01\u6f22 \U0001f600"])
def test_the_key_is_all_128_bits_of_blake2b(text: str) -> None:
    high, low = key(text)
    joined = high.to_bytes(8, "big", signed=True) + low.to_bytes(8, "big", signed=True)
    assert joined == hashlib.blake2b(text.encode(), digest_size=16).digest()


def test_both_halves_of_the_key_depend_on_the_text() -> None:
    keys = [key(str(n)) for n in range(2000)]
    assert len({high for high, _ in keys}) == len({low for _, low in keys}) == 2000
    assert min(min(pair) for pair in keys) < 0 < max(max(pair) for pair in keys)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, 0)),
        ("abc 12_3!", (3, 0)),
        ("Zürich", (6, 0)),
        ("русский", (7, 0)),
        ("한국어", (3, 0)),  # Hangul is written with spaces
        ("漢字 and", (5, 2)),
        ("、。", (0, 0)),  # punctuation of an unspaced script is no letter
        ("กขค", (3, 3)),
        ("กิน", (2, 2)),  # a vowel sign is a mark, not a letter
        ("๑๒", (0, 0)),  # Thai digits
        ("ひらカタ", (4, 4)),
        ("ｶﾀｶﾅ", (4, 4)),  # half width
        ("ລາວ", (3, 3)),
        ("\U00020000", (1, 1)),
    ],
)
def test_letters_counts_those_of_unspaced_scripts(text: str, expected: tuple[int, int]) -> None:
    assert letters(text) == expected


@FEW
@given(LETTERS_AND_MORE)
def test_letters_are_the_alphabetic_characters(text: str) -> None:
    total, unspaced = letters(text)
    assert total == sum(c.isalpha() for c in text)
    assert 0 <= unspaced <= total


@FEW
@given(LETTERS_AND_MORE, LETTERS_AND_MORE)
def test_letters_add_up(one: str, other: str) -> None:
    assert letters(one + other) == tuple(a + b for a, b in zip(letters(one), letters(other), strict=True))
