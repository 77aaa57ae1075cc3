"""What a claim is: a number of a result file, and the bound that it is held to."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Result = dict[str, Any]
Read = Callable[[Result], Any]

QUICK = "-quick"  # in the names of small runs
MET, MISSED, STATED, NOT_RUN = "met", "**missed**", "", "not run yet"


@dataclass(frozen=True)
class Claim:
    """One number, and its target as a bound, so that what is said and what is judged cannot differ."""

    what: str
    read: Read  # None or a missing key: the file does not hold it
    form: str = ".3g"
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    beside: Read | None = None  # words after the number, such as its interval

    @property
    def has_target(self) -> bool:
        return self.at_least is not None or self.at_most is not None

    def show(self, value: float) -> str:
        return format(value, self.form).replace("%", " %") + self.unit

    def bound(self, value: float) -> str:
        """A bound with no more digits than it has."""
        return f"{100 * value:g} %" if self.form.endswith("%") else f"{value:,g}{self.unit}"

    def target(self) -> str:
        if self.at_least is not None and self.at_most is not None:
            return f"{self.bound(self.at_least)} to {self.bound(self.at_most)}"
        if self.at_least is not None:
            return f"≥ {self.bound(self.at_least)}"
        return "" if self.at_most is None else f"≤ {self.bound(self.at_most)}"

    def value(self, result: Result | None) -> Any:
        """What the file holds; None where there is none."""
        try:
            return None if result is None else self.read(result)
        except KeyError:
            return None

    def seen(self, result: Result | None) -> str:
        value = self.value(result)
        if value is None or result is None:
            return ""
        return " ".join([self.show(value), *([self.beside(result)] if self.beside else [])])

    def verdict(self, result: Result | None) -> str:
        value = self.value(result)
        if value is None:
            return NOT_RUN
        if not self.has_target:
            return STATED
        is_enough = self.at_least is None or value >= self.at_least
        return MET if is_enough and (self.at_most is None or value <= self.at_most) else MISSED


@dataclass(frozen=True)
class Table:
    """The claims on one result file: DATE-NAME.json, or DATE-NAME-SET.json, one of several such files."""

    title: str
    script: str
    name: str
    data: Read  # the rows it was measured on, in words
    claims: tuple[Claim, ...]
    remark: str = ""

    def is_in(self, name: str, result: Result) -> bool:
        """Whether a file of this name holds some of it."""
        is_named = name == self.name or name.startswith(f"{self.name}-")
        return is_named and QUICK not in name and any(claim.value(result) is not None for claim in self.claims)


def first(found: Iterable[Any]) -> Any:
    """The first of them; a KeyError where there is none."""
    for one in found:
        return one
    raise KeyError


def at(*path: Any) -> Read:
    """The value at a path of keys; of a list a mapping takes the first element that has its values."""

    def read(result: Result) -> Any:
        found: Any = result
        for step in path:
            is_key = not isinstance(step, dict)
            found = found[step] if is_key else first(one for one in found if step.items() <= one.items())
        return found

    return read


def estimate(what: str, read: Read, form: str = ".3f", at_least: float | None = None) -> Claim:
    """A claim on ``{value, low, high}``, its interval beside it."""

    def interval(result: Result) -> str:
        found = read(result)
        return f"[{found['low']:.3f}, {found['high']:.3f}]"

    return Claim(what, lambda r: read(r)["value"], form, at_least=at_least, beside=interval)


def faster(what: str, read: Read, form: str = ".2f", at_least: float | None = None) -> Claim:
    """A claim on a ratio of speeds."""
    return Claim(what, read, form, " times", at_least=at_least)


def texts(data: dict[str, Any]) -> str:
    """What ``corpus.describe`` says of its texts."""
    return f"{data['rows']:,} docstrings ({data['mean_words']:.0f} words on average)"


def counted(sets: dict[str, int]) -> str:
    """Sets and their rows."""
    return ", ".join(f"{name} ({rows:,} rows)" for name, rows in sets.items())
