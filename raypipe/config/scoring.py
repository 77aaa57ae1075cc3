"""The flags of the commands that run a model over rows: `evaluate` and `predict`."""

from dataclasses import dataclass
from typing import Literal

from raypipe.config.checks import fraction, one_source, require
from raypipe.config.common import CommonConfig, HfToken, secret
from raypipe.config.estimate import EstimatedConfig
from raypipe.schema import FORMATS

MIN_LENGTH, MAX_LENGTH = 8, 512  # tokens of a text


@dataclass(frozen=True, kw_only=True)
class ScoringConfig(CommonConfig):
    """What every command takes that runs a model over rows."""

    text: str = "text"
    """Column that holds the text."""
    hf_access_token: HfToken = secret()
    """Hugging Face token; HF_TOKEN or the Hub's own store serve without it."""
    max_length: int | None = None
    """Tokens of a row beyond which it is cut (8 to 512); by default as in the model's training, else 512.
    A model that has fewer positions cuts there."""
    eval_batch_size: int = 16_384
    """Most rows that an evaluation actor takes at a time. They are sorted by length together, so that hardly a padding
    token is computed, and a finished share is kept for --resume; a forward pass takes a fixed number of tokens."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """cuda without a GPU is refused; auto takes the CPU where there is none."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the forward pass. auto: bf16 where the device has it in hardware and a sample of the rows keeps its
    labels, else float32; what bf16 and fp16 change is measured on that sample and reported."""
    top_k: int = 3
    """Predictions written for a row."""
    cumulative_score: float | None = None
    """Written predictions end with the one whose cumulative score reaches this (0 < c <= 1); never top1 to top3."""

    def validate(self) -> None:
        super().validate()
        require(
            self.max_length is None or MIN_LENGTH <= self.max_length <= MAX_LENGTH,
            f"--max-length {self.max_length}",
            f"{MIN_LENGTH} to {MAX_LENGTH}",
        )
        require(self.eval_batch_size >= 1, f"--eval-batch-size {self.eval_batch_size}", "at least 1")
        require(self.top_k >= 1, f"--top-k {self.top_k}", "at least 1")
        if self.cumulative_score is not None:
            fraction(self.cumulative_score, "--cumulative-score", one_allowed=True)
        require(
            not (self.precision == "fp16" and self.device == "cpu"),
            "--precision fp16 with --device cpu",
            "a GPU for it",
            "--precision auto",
        )

    def scoring_precision(self) -> str:
        """auto, fp32, bf16 or fp16: the arithmetic in which rows are scored."""
        return self.precision


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(ScoringConfig, EstimatedConfig):
    """Score a classifier on labelled text: top-1/2/3 with intervals, predictions and a report."""

    model: str
    """Model: Hub name, name@revision or folder."""
    input_hf_dataset: str | None = None
    """Dataset repository (user/name[@revision]) or folder; its test split is scored."""
    input_dir: str | None = None
    """Folder of a local file to score instead."""
    filename: str | None = None
    """The local file (.jsonl, .jsonl.gz, .csv, .parquet) or glob."""
    label_map: str | None = None
    """CSV file with the columns old,new: labels of the local files to rename first, as prepare does."""
    subject_column: str = "label"
    """Column that holds the label."""
    output_classify_file: str
    """PATH.jsonl of the predictions; PATH_metrics.json and PATH_report.html come beside it."""
    compare_with: str | None = None
    """Predictions (PATH.jsonl) of an earlier evaluation on the same rows: the paired difference is reported."""
    baselines: bool = True
    """Score a majority and a TF-IDF + logistic regression baseline beside the model, where there is a train split."""

    def validate(self) -> None:
        super().validate()
        one_source(self.input_hf_dataset, self.input_dir, self.filename, self.label_map)
        require(self.text != self.subject_column, f"--text and --subject-column both {self.text!r}", "two columns")
        require(
            self.output_classify_file.endswith(".jsonl"),
            f"--output-classify-file {self.output_classify_file!r}",
            "a name that ends in .jsonl",
        )


_PLACE = "a name that ends in .jsonl, or for input files a folder"


@dataclass(frozen=True, kw_only=True)
class PredictConfig(ScoringConfig):
    """Label new text with a classifier."""

    model: str
    """Model: Hub name, name@revision or folder."""
    input: str = "-"
    """File, glob or URI of rows (.jsonl, .jsonl.gz, .csv, .parquet); - reads JSONL from standard input."""
    output: str | None = None
    """PATH.jsonl of all predictions, or a folder that receives one file of them for each input file; without it rows
    go to standard output and the summary to standard error."""

    def validate(self) -> None:
        super().validate()
        output = self.output
        require(output is None or output.endswith(".jsonl") or self._is_folder(output), f"--output {output!r}", _PLACE)
        require(not (self.resume and output is None), "--resume without --output", "--output with it")

    def _is_folder(self, output: str) -> bool:
        """Whether the name can be meant as a folder; standard input has no names for the files in one."""
        return self.input != "-" and not output.endswith((".json", *FORMATS))
