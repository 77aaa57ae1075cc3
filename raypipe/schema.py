"""The words that all stages share: column names, reasons for leaving, and what a stage hands back."""

from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

ID, TEXT, LABEL, WEIGHT = "id", "text", "label", "weight"
FORMATS = (".jsonl", ".jsonl.gz", ".csv", ".parquet")  # of input files, by their endings

# Reasons in the order in which the stages can give them; each removed row carries exactly one.
BAD_JSON = "bad_json"
MISSING_TEXT = "missing_text"
MISSING_LABEL = "missing_label"
EMPTY_TEXT = "empty_text"
CORRECTION = "correction"
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
    CORRECTION,
    FILTERED_LABEL,
    RARE_LABEL,
    DECONTAMINATED,
    EXACT_DUPLICATE,
    NEAR_DUPLICATE,
    LABEL_CONFLICT,
    BALANCED,
    PREVIOUS_TEST,
)
NOT_UTF8 = "not UTF-8"  # the detail of a bad_json row
MULTI_LABEL = "multi-label input is not supported"  # and how that of a list as label ends
UNUSABLE = (BAD_JSON, MISSING_TEXT, MISSING_LABEL, EMPTY_TEXT)  # what --max-bad-fraction counts

TRAIN, TEST = "train", "test"
DATASET_FILES = ("train.csv", "test.csv", "README.md")

# What a card's `license` may say; the Hub refuses others (huggingface.co/docs/hub/repositories-licenses).
_LICENSES = """
afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0
cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0
cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0
cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2
fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0 h-research intel-research isc lgpl lgpl-2.1 lgpl-3.0
lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1
openmdw-1.0 openrail openrail++ osl-3.0 other pddl postgresql unknown unlicense wtfpl zlib
"""
LICENSES = tuple(_LICENSES.split())


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

    def _repr_html_(self) -> str:
        """A table, where a notebook shows the result."""
        groups = {"metrics": self.metrics, "counts": self.counts, "outputs": self.outputs}
        rows = [
            f"<tr><th>{group}</th><td>{escape(str(name))}</td><td>{escape(_shown(value))}</td></tr>"
            for group, values in groups.items()
            for name, value in values.items()
        ]
        title = f"raypipe {escape(self.command)}: {escape(self.status)} in {self.seconds:,.1f} s"
        return f"<table><caption>{title}</caption>{''.join(rows)}</table>"


def _shown(value: Any) -> str:
    """A value for people: numbers with few digits and separators of thousands, a mapping by its parts."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_shown(part)}" for name, part in value.items())
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
