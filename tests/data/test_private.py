"""What looks like an e-mail address, a telephone number or a card number, and what only looks like digits."""

import time

import pytest

from raypipe.data.private import KINDS, kinds

HOLDS = {
    "email": """
        a@b.co | john.doe+x@mail.example.com | <joe@x.org> | mailto:joe@x.org. | JOE@X.ORG | jörg@münchen.de
        see a_b@c-d.io, ok | (x@y.museum)
    """,
    "phone": """
        +44 20 7946 0958 | +1 (415) 555-2671 | +14155552671 | +49 (0)30 123456 | 0044 20 7946 0958
        415-555-2671 | (415) 555-2671 | (415)555-2671 | 415.555.2671 | 415 555 2671 | 1-415-555-2671
        020 7946 0958 | (020) 7946 0958 | 0171/1234567 | 01 23 45 67 89 | 01.23.45.67.89 | 07911 123456
        call me on 07911123456 | Tel. 98765 43210 | my number is 555-1234 | Telefon: 030 1234567
        +33 1 23 45 67 89 | +91-98765-43210 | tel:+4915112345678 | whatsapp 4155552671 | 030/12345678
        (030) 123 456 78 | +49\u00a0151\u20111234567 | 0151-12345678 | +86 138 0013 8000
        phone:415-555-2671, thanks
    """,
    "card": """
        4111 1111 1111 1111 | 4111-1111-1111-1111 | 4111111111111111 | 5500 0000 0000 0004 | 2223 0031 2200 3222
        3400 0000 0000 009 | 3782 822463 10005 | 378282246310005 | 3000 0000 0000 04 | 3530111333300000
        my card 4111 1111 1111 1111 exp 12/25 | 4111 1111 1111 1111 12 28 | 4222222222222 | 6011000990139424
        4111\u00a01111\u00a01111\u00a01111 | card,4111 1111 1111 1111 | 6304000000000000 | 6250941006528599
    """,
}
HOLDS_NOT = """
    2024-01-15 12:30:45 | 15.01.2024 | 12/03/2024 10:20 | on 01.02.2024 12:30 | 01 02 2024 12
    01-02-2024 03-04-2024 | sold 01/02/2024-05/06/2024 | 2024 01 15 2024 02 16 | 20240115123045
    1732435200000 | 10:00-12:00 2024 | call 2024-01-15 | 1,234,567.89 | 1.000.000,00 | 1 000 000
    $12,345,678 | 12.345.678,90 EUR | phone cost 1,299,000 | order 123456789 | order 1234-5678-9012
    order #00123456789 | id 0012 3456 789 | tracking 1Z999AA10123456784 | 4111 1111 1111 1112
    0000 0000 0000 0000 | 1234567890123452 | 9999999999999995 | 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15
    192.168.100.200 | 2001:0db8:85a3:0000:0000:8a2e:0370:7334 | version 1.2.3.4.5.6.7 | v 0.10.20.30
    978-3-16-148410-0 | 3.14159265358979 | 0.0123456789012 | 0.49803921568627452
    [0.35714285714285715, 0.4] | +10.5 20.3 30.1 | 2147483647 | lat 52.520008, 13.404954
    -0.127758 51.507351 | 10 20 30 40 50 60 70 | 00 01 02 03 04 05 06 07 | 2019-2020 2021-2022
    uuid 550e8400-e29b-41d4-a716-446655440000 | sha 0123456789abcdef0123456789 | a0b4111111111111111c
    zip 94103-1234 | IBAN DE89370400440532013000 | doi 10.1016/0378-8733(89)90016-6 | call 911
    I owe 500 200 100 dollars | @someone hi | foo @ bar | a@b | icon@2x.png | user@localhost | price @ 4.50
"""


def cut(text):
    return [part.strip() for line in text.strip().splitlines() for part in line.split("|")]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind in KINDS for text in cut(HOLDS[kind])])
def test_holds(kind, text):
    for around in (text, f"hello {text} bye", f"{text}.", f"{text}\nnext line", f"({text})"):
        assert kinds(around) == {kind}, around


@pytest.mark.parametrize("text", cut(HOLDS_NOT))
def test_holds_not(text):
    assert kinds(text) == kinds(f"hello {text} bye") == set()


def test_all_kinds_in_one_text():
    text = "I am joe@x.org or 415-555-2671; 2024-01-15: card 4111-1111-1111-1111, order 123456789"
    assert kinds(text) == set(KINDS) and kinds("") == set()


def test_one_in_ten_numbers_has_a_right_check_digit():
    numbers = [str(4_000_000_000_000_000 + n * 7_919) for n in range(2_000)]
    assert sum(kinds(number) == {"card"} for number in numbers) == pytest.approx(200, abs=40)
    assert not any(kinds(f"order {n}") for n in range(1_700_000_000_000, 1_700_000_002_000)), "times in milliseconds"


@pytest.mark.parametrize("unit", cut("a|1|1 1|a@|4111 1|a.|(0|+1|call|-1|0 1|00|call me|%|x@a.|(1) 2|a-|0.|@"))
def test_time_grows_with_the_text_and_not_faster(unit):
    def seconds(repeats):
        text, start = unit * repeats, time.process_time()
        kinds(text)
        return time.process_time() - start

    assert seconds(80_000) < 10 * max(seconds(20_000), 0.02)
