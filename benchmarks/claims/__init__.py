"""What the project claims, and the targets: each a number of a file of results/ and its bound."""

from claims import estimating, evaluating, faults, first_run, prepare, sweeping, training
from claims.claim import MET, MISSED, NOT_RUN, QUICK, Claim, Result, Table

SECTIONS: dict[str, tuple[Table, ...]] = {
    "First run": first_run.TABLES,
    "Prepare": prepare.TABLES,
    "Train": training.TABLES,
    "Evaluate, predict, audit": evaluating.TABLES,
    "Sweep": sweeping.TABLES,
    "Estimate first": estimating.TABLES,
    "Faults": faults.TABLES,
}

# Targets that a test holds on every change: what, target, test.
HELD_BY_TESTS = (
    ("metrics against scikit-learn's", "equal to 1e-9", "tests/core/test_metrics.py"),
    ("pairs and cosines on random sparse rows against brute force", "identical", "tests/core/test_similarity.py"),
    (
        "losses of 200 steps against a plain Hugging Face Trainer on the same rows",
        "≤ 1e-3 of each",
        "tests/train/test_loop.py",
    ),
    ("two training workers, after a kill: each later loss", "equal to 1e-6", "tests/train/test_gloo.py"),
)

__all__ = [
    "HELD_BY_TESTS",
    "MET",
    "MISSED",
    "NOT_RUN",
    "QUICK",
    "SECTIONS",
    "Claim",
    "Result",
    "Table",
]
