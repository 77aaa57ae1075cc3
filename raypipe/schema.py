"""The words that all stages share: column names, reasons for leaving, and what a stage hands back."""

from dataclasses import asdict, dataclass, field
from typing import Any

ID, TEXT, LABEL, WEIGHT = "id", "text", "label", "weight"

# Reasons in the order in which the stages can give them; each removed row carries exactly one.
BAD_JSON = "bad_json"
MISSING_TEXT = "missing_text"
MISSING_LABEL = "missing_label"
EMPTY_TEXT = "empty_text"
FILTERED_LABEL = "filtered_label"
RARE_LABEL = "rare_label"
DECONTAMINATED = "decontaminated"
EXACT_DUPLICATE = "exact_duplicate"
NEAR_DUPLICATE = "near_duplicate"
LABEL_CONFLICT = "label_conflict"
BALANCED = "balanced"
PREVIOUS_TEST = "previous_test"
REASONS = (
    BAD_JSON,
    MISSING_TEXT,
    MISSING_LABEL,
    EMPTY_TEXT,
    FILTERED_LABEL,
    RARE_LABEL,
    DECONTAMINATED,
    EXACT_DUPLICATE,
    NEAR_DUPLICATE,
    LABEL_CONFLICT,
    BALANCED,
    PREVIOUS_TEST,
)
UNUSABLE = (BAD_JSON, MISSING_TEXT, MISSING_LABEL, EMPTY_TEXT)  # what --max-bad-fraction counts

TRAIN, TEST = "train", "test"
DATASET_FILES = ("train.csv", "test.csv", "README.md")


@dataclass(frozen=True)
class StageResult:
    """What a command did; its JSON form is the last line of standard output.

    ``outputs`` maps a name to a path or URI, ``counts`` a name to a number of rows, ``metrics`` a name to a number.
    ``status`` is "done", or "skipped" where --resume found the finished work.
    """

    command: str
    config_hash: str
    status: str = "done"
    outputs: dict[str, str] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
