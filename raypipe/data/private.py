"""Texts that look as if they held an e-mail address, a telephone number or a card number; no Ray, no files.

A look, not a proof: written-out addresses are missed, and a number in the shape of a telephone number counts as one.
Dates, prices, times, IP addresses and plain order numbers do not: a telephone number needs an international prefix,
the grouping of a national one, or a word such as "call" before it; a card number needs an issuer's prefix, the
grouping that is printed on cards, and a right check digit (ISO/IEC 7812: Luhn).
"""

import re
from collections.abc import Iterator

EMAIL, PHONE, CARD = "email", "phone", "card"
KINDS = (EMAIL, PHONE, CARD)

# Spaces and hyphens that word processors put into numbers, as the plain ones.
_PLAIN = str.maketrans(dict.fromkeys("\u00a0\u2007\u2009\u202f", " ") | dict.fromkeys("\u2010\u2011\u2012\u2013", "-"))
_EMAIL = re.compile(
    r"(?<![\w.+-])[\w.%+-]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+"
    r"(?!(?:png|jpe?g|gif|svg|webp)\b)[^\W\d_]{2,24}(?![\w@-])",  # icon@2x.png is a picture
    re.IGNORECASE,
)
_SHAPE = bytes(ord("0" if byte in b"0123456789" else "x") for byte in range(256))
_SEVEN_DIGITS = re.compile(r"(?:[0-9][ ./()-]{0,3}){6}[0-9]")  # without them nothing below can match
_RUN = re.compile(r"(?<![\w+])(?<![0-9.][.,])[0-9]+(?:[ -][0-9]+)*(?!\w|[.,][0-9])")  # no decimals, no hexadecimals
_CARD_SHAPES: set[tuple[int, ...]] = {(4, 4, 4, n) for n in range(1, 5)} | {(4, 4, 4, 4, n) for n in range(1, 4)}
_CARD_SHAPES |= {(4, 6, 4), (4, 6, 5), (4, 3, 3, 3), (6, 10), (6, 13)} | {(n,) for n in range(13, 20)}
_CARD_PREFIX = re.compile("3[0-9]|4|5|6|2[2-7]")  # Amex, Diners, JCB; Visa; Mastercard, Maestro; Discover, UnionPay
_DATE = re.compile(  # a space separates the parts of a date only before a whole year, or 01 23 45 67 89 would be one
    r"(?<![0-9])(?:(?:0?[1-9]|[12][0-9]|3[01])(?:([/-])[0-3]?[0-9]\1(?:19|20)?|\.(?:0?[1-9]|1[012])\.(?:19|20)?"
    r"| [0-3]?[0-9] (?:19|20))[0-9]{2}|(?:19|20)[0-9]{2}([ ./-])[0-9]{1,2}\2[0-9]{1,2})(?![0-9])"
)
_DIGIT = r"(?:[ /()-]{0,3}|\.(?=[0-9]{2}))[0-9]"  # one more digit of a number; "+10.5 20.3" is a list of decimals
_BEFORE, _AFTER = r"(?<![\w.,/+-])", r"(?![\w-]|[.,][0-9])"
_PHONES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # +49 30 123456, +1 (415) 555-2671, 0044 20 7946 0958: 8 to 15 digits (ITU-T E.164)
        rf"(?<![\w+])\+[1-9](?:{_DIGIT}){{7,14}}(?![0-9])",
        rf"{_BEFORE}00(?:1|[2-9][0-9]{{1,2}})(?=[ /(-])(?:{_DIGIT}){{7,12}}{_AFTER}",
        # 415-555-2671, (415) 555-2671, 1.415.555.2671: North America
        rf"{_BEFORE}(?:1[ .-])?(?:\([2-9][0-9]{{2}}\) ?|[2-9][0-9]{{2}}[ .-])[2-9][0-9]{{2}}[ .-][0-9]{{4}}{_AFTER}",
        # 020 7946 0958, 0171/1234567, 01 23 45 67 89, (030) 123456: a trunk 0 and 9 to 12 digits in groups
        rf"{_BEFORE}(?<![0-9] )\(?(?=0[1-9][0-9]{{0,3}}[ ./()-])0[1-9](?:{_DIGIT}){{7,10}}(?![ ./-]?[0-9]){_AFTER}",
        # call me on 07911123456, Tel. 98765 43210, my number is 555-1234
        r"\b(?:call|dial|phone|telephone|tele?f[oó]n[oe]?|t[eé]l[eé]phone|tel|mobile?|m[oó]vil|handy|celular|cell|"
        r"whats ?app|sms|fax|number is|n[uú]mero es|nummer ist)"
        r"(?: ?(?:number|no|nr|me|us|him|her|them|back|is|at|on|under|unter|al|au)\b)*[ .:#(]{0,3}"
        rf"[0-9](?:{_DIGIT}){{6,13}}{_AFTER}",
    )
)


def kinds(text: str) -> set[str]:
    """Which of KINDS the text seems to hold."""
    found = {EMAIL} if "@" in text and _EMAIL.search(text) else set()
    if not text.isascii():
        text = text.translate(_PLAIN)
    shape = text.encode().translate(_SHAPE, b" ./()-")  # a quick look first, at a tenth of the time
    if b"0000000" not in shape or not _SEVEN_DIGITS.search(text):
        return found
    rest, end = [], 0  # the text without its card numbers, which would look like telephone numbers
    for first, last in _cards(text):
        rest.append(text[end:first])
        end = last
    if rest:
        found.add(CARD)
    text = _DATE.sub("#", "#".join([*rest, text[end:]]))
    if any(pattern.search(text) for pattern in _PHONES):
        found.add(PHONE)
    return found


def _cards(text: str) -> Iterator[tuple[int, int]]:
    """Where card numbers stand: runs of digit groups, at any group of a longer run ("4111 1111 1111 1111 12 28")."""
    for run in _RUN.finditer(text):
        if sum(map(str.isdigit, run[0])) < 13:
            continue
        groups = [(g.start() + run.start(), g[0]) for g in re.finditer("[0-9]+", run[0])]
        first = 0
        while first < len(groups):
            last = next((n for n in range(min(len(groups), first + 5), first, -1) if _is_card(groups[first:n])), None)
            if last is not None:
                yield groups[first][0], groups[last - 1][0] + len(groups[last - 1][1])
            first = last or first + 1


def _is_card(groups: list[tuple[int, str]]) -> bool:
    if tuple(len(digits) for _, digits in groups) not in _CARD_SHAPES:
        return False
    number = "".join(digits for _, digits in groups)
    return bool(_CARD_PREFIX.match(number)) and _luhn(number)


def _luhn(number: str) -> bool:
    """Whether the check digit is right: every second digit from the right is doubled, its digits summed."""
    digits = [int(d) for d in reversed(number)]
    return sum(digits[0::2] + [d * 2 - 9 * (d > 4) for d in digits[1::2]]) % 10 == 0
