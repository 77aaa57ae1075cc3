"""The flags of `prepare`."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import arg

from raypipe.config.checks import fraction, groups, nearest, require
from raypipe.config.common import HfToken, secret
from raypipe.config.estimate import EstimatedConfig
from raypipe.schema import LICENSES


@dataclass(frozen=True, kw_only=True)
class PrepareConfig(EstimatedConfig):
    """Clean, balance and split raw labelled text into a dataset."""

    input_dir: Annotated[str, arg(aliases=["-i"])]
    """Folder of the raw files."""
    input_filename: Annotated[str, arg(aliases=["-f"])]
    """File name or glob under --input-dir (** crosses folders): .jsonl, .jsonl.gz, .csv, .parquet."""
    output_filename: Annotated[str, arg(aliases=["-o"])]
    """DIR/NAME.jsonl; the outputs are DIR/NAME_train.jsonl, DIR/NAME_test.jsonl and so on."""
    text: Annotated[str, arg(aliases=["-t"])] = "text"
    """Column that holds the text."""
    subject: Annotated[str, arg(aliases=["-s"])] = "label"
    """Column that holds the label."""
    hf_access_token: HfToken = secret()
    """Hugging Face token; HF_TOKEN or the Hub's own store serve without it."""
    target_hf_dataset: Annotated[str | None, arg(aliases=["-thf"])] = None
    """Dataset repository (user/name) or folder that receives train.csv, test.csv and the card."""
    license: str | None = None
    """License of the dataset for the card, as the Hub calls it, such as cc-by-4.0; other where its list lacks it."""
    yes_publish: bool = False
    """Push to a public repository that exists also rows that look like they hold e-mail, phone or card numbers."""
    labels_to_filter: tuple[str, ...] = ()
    """Labels whose rows leave."""
    label_map: str | None = None
    """CSV file with the columns old,new: labels to rename before anything else."""
    corrections: str | None = None
    """CSV or JSONL file of rows with another label, or that leave: id or text, and label or drop; or a suspects file
    of `raypipe audit` with its field correction filled in (a label, or drop). After --label-map."""
    min_class_rows: int = 1
    """Rows that a class needs to stay."""
    reduce_majority_to: float = 1.0
    """No class keeps more than this share (0 < R <= 1) of the largest class's rows, nor falls below the smallest."""
    max_class_ratio: float | None = None
    """No class keeps more than this many times (>= 1) the rows of the smallest class."""
    balance_scope: Literal["all", "train"] = "all"
    """Balance before the split, or after it and in train only."""
    similarity_threshold: float = 0.9
    """A row leaves when an earlier kept row has the same text or a TF-IDF cosine of at least this (0 < t <= 1)."""
    analyzer: Literal["auto", "word", "char", "char_wb"] = "auto"
    """Features of the TF-IDF; auto: word, or char_wb (2, 3) for scripts without spaces."""
    ngram_range: tuple[int, int] | None = None
    """Smallest and largest n-gram; by default (1, 1) for word and (3, 5) for char and char_wb."""
    token_pattern: str | None = None
    """Regular expression of a token of the word analyzer (scikit-learn's by default)."""
    on_conflict: Literal["keep", "drop", "majority"] = "keep"
    """Duplicates with different labels: keep the first row, drop both, or give it the majority's label."""
    decontaminate: str | None = None
    """File whose texts must not occur in the dataset (same format and text column), such as a benchmark's test set."""
    test_fraction: float = 0.2
    """Share of each class that goes to test."""
    previous: str | None = None
    """Earlier -o value, DIR/NAME.jsonl: its test rows stay in test or leave, and never enter train."""
    max_bad_fraction: float = 0.05
    """Share of unusable rows (bad JSON, no text, no label, empty text) above which nothing is written."""
    explore: bool = False
    """Only look: one join at 0.6, then a page on what each threshold would remove; writes no dataset."""
    explore_max_pairs: int = 20_000_000
    """Pairs of rows at 0.6 beyond which --explore stops with an error; each needs 200 bytes of the driver's memory."""
    block_rows: int = 50_000
    """Rows of one block of the reader and of the join; bounds a task's memory, never changes the result."""

    def validate(self) -> None:
        super().validate()
        require(
            self.output_filename.endswith(".jsonl"),
            f"--output-filename {self.output_filename!r}",
            "a name that ends in .jsonl",
            f"-o {self.output_filename}.jsonl",
        )
        require(self.text != self.subject, f"--text and --subject both {self.text!r}", "two columns")
        require(
            self.previous is None or (not self.previous.endswith(("/", "\\")) and self.previous not in ("", ".jsonl")),
            f"--previous {self.previous!r}",
            "the -o value of an earlier set, DIR/NAME.jsonl",
        )
        require(
            self.license is None or self.license in LICENSES,
            f"--license {self.license!r}",
            "an identifier of huggingface.co/docs/hub/repositories-licenses",
            nearest((self.license or "").lower(), LICENSES) or "--license other",
        )
        fraction(self.reduce_majority_to, "--reduce-majority-to", one_allowed=True)
        fraction(self.similarity_threshold, "--similarity-threshold", one_allowed=True)
        require(
            self.similarity_threshold >= 1e-6, f"--similarity-threshold {self.similarity_threshold}", "at least 1e-6"
        )
        fraction(self.test_fraction, "--test-fraction")
        require(0 <= self.max_bad_fraction <= 1, f"--max-bad-fraction {self.max_bad_fraction}", "0 to 1")
        ratio = self.max_class_ratio
        require(ratio is None or 1 <= ratio < math.inf, f"--max-class-ratio {ratio}", "at least 1")
        require(self.min_class_rows >= 1, f"--min-class-rows {self.min_class_rows}", "at least 1")
        require(self.block_rows >= 1, f"--block-rows {self.block_rows}", "at least 1")
        require(self.explore_max_pairs >= 1, f"--explore-max-pairs {self.explore_max_pairs}", "at least 1")
        require(
            not (self.explore and self.target_hf_dataset),
            "--explore with --target-hf-dataset",
            "one of them: --explore makes no dataset",
            "choose a threshold first, then prepare without --explore",
        )
        low, high = self.ngram_range or (1, 1)
        require(1 <= low <= high, f"--ngram-range {low} {high}", "1 <= MIN <= MAX")
        if self.token_pattern is not None:
            require(
                self.analyzer in ("auto", "word"),
                f"--token-pattern with --analyzer {self.analyzer}",
                "the word analyzer",
            )
            require(
                groups(self.token_pattern) <= 1,
                f"--token-pattern {self.token_pattern!r}",
                "a regular expression with at most one group",
            )
