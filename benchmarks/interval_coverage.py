"""How often the 95 % intervals of the metrics hold the truth, on sets drawn from populations that are known.

python benchmarks/interval_coverage.py [--repetitions 500]
"""

import argparse

import numpy as np
from results_file import save

from raypipe.core import calibration, intervals, metrics

SETS = ((4, 300), (77, 700), (77, 3080))  # classes, rows
DRAWN = 4_000_000  # rows that stand for the whole population of a calibration error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=500)
    parser.add_argument("--name", default="interval-coverage")
    options = parser.parse_args()
    measured = {
        "repetitions": options.repetitions,
        "wilson": wilson(10_000),
        "paired_difference": paired(options.repetitions),
        "bootstrap": {f"{c} classes, {n} rows": of_classes(c, n, options.repetitions) for c, n in SETS},
        "calibration_error": {
            f"accuracy = confidence ** {power}, {rows} rows": of_calibration(power, rows, options.repetitions)
            for power in (1.0, 1.5)
            for rows in (500, 3080)
        },
    }
    save(options.name, measured)


def wilson(repetitions: int, rows: int = 1000) -> float:
    """Averaged over p from 0.5 to 0.95."""
    bounds = np.array([intervals.wilson(hits, rows)[1:] for hits in range(rows + 1)])
    random, held = np.random.default_rng(0), []
    for p in np.linspace(0.5, 0.95, 46):
        low, high = bounds[random.binomial(rows, p, repetitions)].T
        held.append(((low <= p) & (p <= high)).mean())
    return round(float(np.mean(held)), 4)


def paired(repetitions: int, rows: int = 1000) -> dict[str, float]:
    """Two classifiers that are right at different rates on the same rows."""
    random, found = np.random.default_rng(1), {}
    for both, first, second in ((0.8, 0.06, 0.03), (0.85, 0.02, 0.02), (0.5, 0.2, 0.1)):
        shares, held = [both, first, second, 1 - both - first - second], 0
        for _ in range(repetitions):
            kind = random.choice(4, rows, p=shares)
            _, low, high = intervals.paired_difference(kind <= 1, (kind == 0) | (kind == 2))
            held += low <= first - second <= high
        found[f"only first {first}, only second {second}"] = round(held / repetitions, 4)
    return found


def of_classes(classes: int, rows: int, repetitions: int) -> dict[str, float]:
    """A population of classes of equal size and unequal difficulty, each confused with four others."""
    random = np.random.default_rng(2)
    cells = np.diag(random.beta(9, 1.2, classes))
    for true in range(classes):
        others = random.choice(np.delete(np.arange(classes), true), min(4, classes - 1), replace=False)
        cells[true, others] = (1 - cells[true, true]) * random.dirichlet(np.ones(len(others)))
    share = cells.ravel() / classes
    truth = {name: e.value for name, e in _population(share, classes).items()}
    held = dict.fromkeys(truth, 0)
    for seed in range(repetitions):
        true, predicted = np.divmod(random.choice(classes**2, rows, p=share), classes)
        for name, (_, low, high) in metrics.class_estimates(true, predicted, classes, seed).items():
            held[name] += int(low <= truth[name] <= high)
    return {name: round(count / repetitions, 4) for name, count in held.items()}


def _population(share: np.ndarray, classes: int) -> dict[str, intervals.Estimate]:
    """The scores of the population itself: each cell one row, weighted by its share."""
    true, predicted = np.divmod(np.arange(classes**2), classes)
    return metrics.class_estimates(true, predicted, classes, 0, share)


def of_calibration(power: float, rows: int, repetitions: int) -> dict[str, float]:
    """Confidences drawn from Beta(5, 1), right as often as confidence ** power says."""
    random = np.random.default_rng(3)
    sure = random.beta(5, 1, DRAWN)
    gap = np.bincount(np.minimum((sure * calibration.BINS).astype(int), calibration.BINS - 1), sure - sure**power)
    truth = float(np.abs(gap).sum() / DRAWN)
    held, values = 0, []
    for seed in range(repetitions):
        confidence = random.beta(5, 1, rows)
        correct = random.random(rows) < confidence**power
        said = calibration.Probabilities(confidence, confidence)
        value, low, high = calibration.probability_estimates([said], correct, seed)[0]["ece"]
        held += low <= truth <= high
        values.append(value)
    return {
        "truth": round(truth, 4),
        "mean_estimate": round(float(np.mean(values)), 4),
        "held": round(held / repetitions, 4),
    }


if __name__ == "__main__":
    main()
