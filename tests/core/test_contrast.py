"""Which pairs of texts differ only in digits, or only in a negation word."""

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.core import contrast


def kinds(first: str, second: str) -> list[str]:
    left, right = contrast.fingerprints([first]), contrast.fingerprints([second])
    return [kind for kind, hit in contrast.differ_only_in(left, right).items() if hit[0]]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("error 4", "error 5"),
        ("error 4 on start", "Error: on start!"),
        ("iphone13 is slow", "iPhone 12 is slow"),
        ("move 4 to 5", "move 5 to 4"),
        ("pay 1.50 now", "pay 150 now"),
        ("please open gate 7", "open gate 8, please"),
        ("خطأ ٤", "خطأ ٥"),
        ("错误代码4", "错误代码 5"),
    ],
)
def test_only_digits_apart(first: str, second: str) -> None:
    assert kinds(first, second) == kinds(second, first) == ["digits"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("I can pay", "I can't pay"),
        ("I can pay", "I cannot pay"),
        ("I can pay", "I can’t pay"),
        ("I can pay", "I cant pay"),
        ("Can I activate my card?", "I can't activate my card?"),
        ("I want it", "I don't want it"),
        ("I want it", "I do not want it"),
        ("why do you ask", "WHY DON`T YOU ASK"),
        ("it will work", "it won't work"),
        ("it is in", "it isn’t in"),
        ("it will work", "it will never work"),
        ("I will not", "I will never"),
        ("ich habe Geld", "ich habe kein Geld"),
        ("j'ai reçu", "je n’ai pas reçu"),
        ("puedo pagar", "no puedo pagar"),
        ("eu recebi", "eu não recebi"),
        ("я получил", "я не получил"),
        ("我能登录", "我不能登录"),
        ("मुझे मिला", "मुझे नहीं मिला"),
    ],
)
def test_only_a_negation_apart(first: str, second: str) -> None:
    assert kinds(first, second) == kinds(second, first) == ["negation"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("I can't pay", "I cannot pay"),
        ("I don't want it", "I do not want it"),
        ("we dont ship", "We don’t ship."),
        ("what do I do", "what I do"),
        ("error 4", "error four"),
        ("error 4 now", "error 5"),
        ("I can't pay 4", "I can pay 5"),
        ("with a pin", "without a pin"),
        ("have it", "haven it"),
        ("pay $5", "pay €6"),
        ("का घर", "की घर"),
        ("notable", "able"),
        ("", "  "),
    ],
)
def test_other_pairs_are_neither(first: str, second: str) -> None:
    assert kinds(first, second) == kinds(second, first) == []


WORDS = st.lists(st.text(string.ascii_lowercase, min_size=4, max_size=8).map("x".__add__), min_size=1, max_size=8)
TURNED = str.maketrans("0123456789", "1234567890")


@given(WORDS, st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_other_digits_are_a_difference_in_digits_wherever_they_stand(
    words: list[str], number: int, rng: random.Random
) -> None:
    at = rng.randrange(len(words) + 1)
    text = " ".join([*words[:at], str(number), *words[at:]])
    assert kinds(text, text.translate(TURNED)) == ["digits"]
    assert kinds(text, " ".join(words)) == ["digits"]


@given(WORDS, st.sampled_from(sorted(contrast.NEGATIONS)), st.randoms(use_true_random=False))
def test_a_negation_put_in_anywhere_is_a_difference_in_negation(
    words: list[str], negation: str, rng: random.Random
) -> None:
    at = rng.randrange(len(words) + 1)
    assert kinds(" ".join(words), " ".join([*words[:at], negation, *words[at:]])) == ["negation"]


@given(st.text(), st.randoms(use_true_random=False))
def test_case_spaces_and_the_order_of_words_are_no_difference(text: str, rng: random.Random) -> None:
    words = [word for word in contrast.tokens(text) if not any(c.isdigit() for c in word)]
    shuffled = rng.sample(words, len(words))
    assert kinds(" ".join(words), "  ".join(shuffled)) == []
    assert kinds(text, text) == []


def test_every_negation_is_one_token_as_written() -> None:
    assert {word: contrast.tokens(word) for word in contrast.NEGATIONS} == {w: [w] for w in contrast.NEGATIONS}
