"""A running stage's own forecast: what it will take in all, as its first tenth says; for comparison when it is done."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

SHARE = 0.1  # of a stage, after which it predicts the whole of itself


@dataclass
class Forecast:
    """Counts the parts of a stage as they are done.

    The pace is that after the first part, which waits for what starts up. A stage of fewer than three parts says
    nothing of itself beforehand.
    """

    total: float  # parts in all
    predicted_s: float | None = None
    took_s: float | None = None
    _start: float = field(default_factory=lambda: time.monotonic())
    _done: float = 0.0
    _first: tuple[float, float] | None = None  # seconds and parts when the first ones were done

    def add(self, parts: float) -> None:
        """So many more parts are done."""
        spent, self._done = time.monotonic() - self._start, self._done + parts
        done = self._done
        if done >= self.total:
            self.took_s = spent
        elif self._first is None:
            self._first = spent, done
        elif self.predicted_s is None and done >= SHARE * self.total:
            first_s, first = self._first
            self.predicted_s = first_s + (spent - first_s) * (self.total - first) / (done - first)


def compared(forecasts: Mapping[str, Forecast]) -> dict[str, dict[str, float]]:
    """Seconds predicted and taken of the stages that predicted themselves, for reports."""
    return {
        stage: {"predicted": round(forecast.predicted_s, 3), "took": round(forecast.took_s, 3)}
        for stage, forecast in forecasts.items()
        if forecast.predicted_s is not None and forecast.took_s is not None
    }
