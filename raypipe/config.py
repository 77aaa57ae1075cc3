"""One frozen dataclass per command: the only home of a default, and the source of the command line.

The text under each field is its help. ``secret()`` marks a field that is never printed, hashed or stored.
"""

import difflib
import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from tyro.conf import arg

from raypipe.errors import ConfigError
from raypipe.schema import LICENSES

DEFAULT_MODEL = "MoritzLaurer/deberta-v3-base-zeroshot-v1.1-all-33"

# Tokens of one training batch of one worker. On a CPU larger batches leave the cache; on a GPU it is a whole step of
# base and larger models at full length (32 rows of 512 tokens).
CPU_TOKEN_BUDGET, GPU_TOKEN_BUDGET = 4_096, 16_384

# Fields that say how a command runs and where its outputs go, not what it computes: they are not part of its hash.
RUN_CONTROL = frozenset({"config", "address", "num_cpus", "wait_for_resources", "overwrite", "resume"}) | {
    "allow_literal_token",
    "output_filename",
    "output_dir",
    "output_classify_file",
    "output",
    "run_dir",
    "target_hf_dataset",
    "yes_publish",
    "hf_model_name",
    "wandb_output",
    "block_rows",
    "explore_max_pairs",
    "checkpoint_minutes",
    "max_failures",
    "max_concurrent",
}

# What `run` and `demo` hand on to the stages that they start.
HANDED_ON = ("seed", "address", "num_cpus", "wait_for_resources", "overwrite", "resume", "allow_literal_token")


def secret() -> Any:
    """A field for a token: never printed, hashed or stored."""
    return field(default=None, repr=False, metadata={"secret": True})


@dataclass(frozen=True, kw_only=True)
class CommonConfig:
    """What every command takes."""

    config: str | None = None
    """TOML file with the tables [prepare] [train] [evaluate] [sweep]; flags win over it."""
    seed: int = 42
    """Seed of every random choice."""
    address: str | None = None
    """Ray cluster to use; without it the running cluster (inside a Ray job or with RAY_ADDRESS), else a local Ray."""
    num_cpus: int | None = None
    """CPUs of a local Ray (all of the machine's by default)."""
    wait_for_resources: float = 0.0
    """Seconds to wait for an autoscaling cluster to bring the CPUs or GPUs that the command needs."""
    overwrite: bool = False
    """Replace an existing complete output."""
    resume: bool = False
    """Keep an existing complete output of the same input and configuration; finish an incomplete one."""
    allow_literal_token: bool = False
    """Accept a token written out on the command line inside a Ray job, where it is stored in the job's metadata."""

    def validate(self) -> None:
        """Refuse values that cannot work. Raises ConfigError."""
        require(0 <= self.seed < 2**32, f"--seed {self.seed}", "a whole number from 0 to 4294967295")
        require(self.num_cpus is None or self.num_cpus >= 1, f"--num-cpus {self.num_cpus}", "at least 1")
        require(self.wait_for_resources >= 0, f"--wait-for-resources {self.wait_for_resources}", "at least 0")
        require(not (self.overwrite and self.resume), "--overwrite and --resume together", "one of them", "drop one")

    def public(self) -> dict[str, Any]:
        """The fields without secrets, as JSON can hold them."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if not f.metadata.get("secret")}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    def hash(self) -> str:
        """Sixteen hex digits of SHA-256 over everything that decides the result."""
        return hashlib.sha256(json.dumps(self.deciding(), sort_keys=True).encode()).hexdigest()[:16]

    def deciding(self) -> dict[str, Any]:
        """The fields that decide the result."""
        return {name: value for name, value in self.public().items() if name not in RUN_CONTROL}


HfToken = Annotated[str | None, arg(aliases=["-ht"], metavar="TOKEN|env:NAME|@FILE")]
WandbToken = Annotated[str | None, arg(metavar="KEY|env:NAME|@FILE")]


@dataclass(frozen=True, kw_only=True)
class PrepareConfig(CommonConfig):
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
                _groups(self.token_pattern) <= 1,
                f"--token-pattern {self.token_pattern!r}",
                "a regular expression with at most one group",
            )


@dataclass(frozen=True, kw_only=True)
class ScoringConfig(CommonConfig):
    """What every command takes that runs a model over rows."""

    text: str = "text"
    """Column that holds the text."""
    hf_access_token: HfToken = secret()
    """Hugging Face token; HF_TOKEN or the Hub's own store serve without it."""
    max_length: int = 512
    """Tokens of a row beyond which it is cut (8 to 512)."""
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
        require(8 <= self.max_length <= 512, f"--max-length {self.max_length}", "8 to 512")
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
class TrainConfig(ScoringConfig):
    """Fine-tune a Hugging Face model on a dataset, evaluate it, and push it to the Hub when asked."""

    input_hf_dataset: str | None = None
    """Dataset repository (user/name[@revision]) or folder with train.csv and test.csv."""
    model_for_training_finetune: str = DEFAULT_MODEL
    """Base model: Hub name, name@revision or folder."""
    wandb_access_token: WandbToken = secret()
    """Weights & Biases key; WANDB_API_KEY serves without it; with neither the run is logged offline."""
    hf_model_name: str | None = None
    """Model repository (user/name) or folder that receives the fine-tuned model."""
    subject_column: str = "label"
    """Column that holds the label."""
    output_dir: str | None = None
    """Folder of the run (runs/train-UTC by default)."""
    output_classify_file: str | None = None
    """Predictions on the test split (predictions.jsonl in the output folder by default)."""
    epochs: float | None = None
    """Passes over the training rows; by default from the model's size."""
    learning_rate: float | None = None
    """Peak learning rate; by default from the model's size."""
    batch_size: int | None = None
    """Rows of one optimizer step, over all workers; by default from the model's size."""
    truncation: Literal["head", "head_tail"] = "head"
    """What stays of a text above --max-length: its first tokens, or the first quarter and the last three quarters."""
    token_budget: int | None = None
    """Most tokens of one batch of one worker, padding included; 4096 on a CPU and 16384 on a GPU by default.
    A step that needs more is made of several batches."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: a row counts in the loss by rows / (classes x rows of its class)."""
    num_workers: int | str = 1
    """Training workers; MIN:MAX takes as many as the cluster has, and goes on with more or fewer when it changes."""
    max_failures: int = 3
    """Times that training goes on from its last checkpoint after a worker failed (0 or more)."""
    checkpoint_minutes: float = 5.0
    """Least minutes between two checkpoints, which are what a killed training loses at most (0 or more)."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the forward and backward pass; weights stay float32. auto: bf16 where the device has it.
    The evaluation at the end is in float32 with fp32, else as with evaluate's auto."""
    attention: Literal["auto", "eager", "fused"] = "auto"
    """fused: a kernel for DeBERTa-v2/v3 on a GPU with raypipe[fused], where it agrees with eager attention on a batch.
    auto: fused where that is to be had, else what transformers chooses. eager: transformers' plain code."""
    validation_fraction: float = 0.1
    """Share of the training rows held out to choose the best checkpoint."""
    max_cpu_hours: float = 2.0
    """Hours of training on the CPU beyond which --device auto stops, as its first steps predict them."""
    early_stopping_patience: int | None = None
    """Evaluations without a better validation score after which training stops."""
    downsample: bool = False
    """Cut every class of the training rows to the size of the smallest."""
    baselines: bool = True
    """Score a majority and a TF-IDF + logistic regression baseline on the same rows beside the model."""
    wandb_output: str | None = None
    """File that also receives the HTML page of the training curves."""
    train: bool = True
    """With --no-train the model named by --model-for-training-finetune is only evaluated."""
    examples: bool = False
    """Evaluate the rows of --input-dir/--filename with an existing model; nothing is trained."""
    input_dir: str | None = None
    """Folder of the local file of --examples."""
    filename: str | None = None
    """Local file of --examples."""

    def scoring_precision(self) -> str:
        """A model trained in bf16 is still scored in it only where that keeps its labels: the score is of the model."""
        return "fp32" if self.precision == "fp32" else "auto"

    def validate(self) -> None:
        super().validate()
        if self.examples:
            require(bool(self.input_dir and self.filename), "--examples", "--input-dir and --filename with it")
        else:
            require(bool(self.input_hf_dataset), "no --input-hf-dataset", "a repository or a folder")
            require(not (self.input_dir or self.filename), "--input-dir or --filename without --examples", "--examples")
        require(self.text != self.subject_column, f"--text and --subject-column both {self.text!r}", "two columns")
        require(self.epochs is None or 0 < self.epochs < math.inf, f"--epochs {self.epochs}", "more than 0")
        rate = self.learning_rate
        require(rate is None or 0 < rate < 1, f"--learning-rate {rate}", "a number between 0 and 1")
        require(self.batch_size is None or self.batch_size >= 1, f"--batch-size {self.batch_size}", "at least 1")
        range_of = re.fullmatch(r"([1-9]\d*)(?::([1-9]\d*))?", str(self.num_workers))
        require(
            range_of is not None and int(range_of[1]) <= int(range_of[2] or range_of[1]),
            f"--num-workers {self.num_workers}",
            "a whole number of at least 1, or MIN:MAX",
        )
        budget = self.token_budget
        require(
            budget is None or budget >= self.max_length,
            f"--token-budget {budget} with --max-length {self.max_length}",
            "at least --max-length, so that each row fits",
        )
        require(self.max_failures >= 0, f"--max-failures {self.max_failures}", "at least 0")
        require(self.checkpoint_minutes >= 0, f"--checkpoint-minutes {self.checkpoint_minutes}", "at least 0")
        fraction(self.validation_fraction, "--validation-fraction")
        file = self.output_classify_file
        require(
            file is None or file.endswith(".jsonl"), f"--output-classify-file {file!r}", "a name that ends in .jsonl"
        )
        pushed = self.hf_model_name or self.wandb_output
        require(
            not pushed or (self.train and not self.examples), f"{pushed!r} to be written without a training", "--train"
        )
        require(self.max_cpu_hours > 0, f"--max-cpu-hours {self.max_cpu_hours}", "more than 0")
        patience = self.early_stopping_patience
        require(patience is None or patience >= 1, f"--early-stopping-patience {patience}", "at least 1")

    def workers_range(self) -> tuple[int, int]:
        """Least and most training workers; they are equal where the number is fixed."""
        least, _, most = str(self.num_workers).partition(":")
        return int(least), int(most or least)


@dataclass(frozen=True, kw_only=True)
class SweepConfig(TrainConfig):
    """Find the learning rate, and what else is tried, on a validation share of train; takes train's flags."""

    learning_rates: tuple[float, ...] = ()
    """Learning rates to try."""
    learning_rate_range: tuple[float, float] | None = None
    """Or try --num-samples of them between these two, drawn evenly on a logarithmic scale."""
    num_samples: int = 8
    """Learning rates drawn from --learning-rate-range."""
    try_epochs: tuple[float, ...] = ()
    """Numbers of epochs to try with each rate."""
    try_token_budgets: tuple[int, ...] = ()
    """Token budgets to try with each rate."""
    try_models: tuple[str, ...] = ()
    """Base models to try with each rate, in place of --model-for-training-finetune."""
    scheduler: Literal["asha", "none"] = "asha"
    """asha stops trials early that do worse than others at the same point; none runs all to their end."""
    evaluations_per_epoch: int = 4
    """How often a trial is scored on the validation rows, which is where asha may stop it."""
    max_concurrent: int | str = "auto"
    """Trials at a time; auto: as many as the cluster's CPUs or GPUs can hold."""
    time_budget_minutes: float | None = None
    """Minutes after which no trial goes on; the best of what ran is taken."""

    def validate(self) -> None:
        super().validate()
        require(
            bool(self.learning_rates) != bool(self.learning_rate_range),
            "not exactly one of --learning-rates and --learning-rate-range",
            "one of them",
            "--learning-rates 1e-5 2e-5 4e-5",
        )
        for rate in self.learning_rates + (self.learning_rate_range or ()):
            require(0 < rate < 1, f"a learning rate of {rate}", "a number between 0 and 1")
        low, high = self.learning_rate_range or (0.1, 0.2)
        require(low < high, f"--learning-rate-range {low:g} {high:g}", "the lower rate first")
        require(self.num_samples >= 1, f"--num-samples {self.num_samples}", "at least 1")
        for flag, given in {"--learning-rate": self.learning_rate, "--hf-model-name": self.hf_model_name}.items():
            require(
                given is None, f"{flag} in a sweep", "train's flags but this one", "train with best.toml afterwards"
            )
        require(self.train and not self.examples, "--no-train or --examples in a sweep", "a training")
        require(self.wandb_output is None, "--wandb-output in a sweep", "sweep.html has the curves", "leave it out")
        for epochs in self.try_epochs:
            require(0 < epochs < math.inf, f"--try-epochs {epochs}", "more than 0")
        for budget in self.try_token_budgets:
            require(
                budget >= self.max_length, f"--try-token-budgets {budget}", f"at least --max-length {self.max_length}"
            )
        require(
            re.fullmatch(r"auto|[1-9]\d*", str(self.max_concurrent)) is not None,
            f"--max-concurrent {self.max_concurrent}",
            "auto, or a whole number of at least 1",
        )
        require(self.evaluations_per_epoch >= 1, f"--evaluations-per-epoch {self.evaluations_per_epoch}", "at least 1")
        minutes = self.time_budget_minutes
        require(minutes is None or minutes > 0, f"--time-budget-minutes {minutes}", "more than 0")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(ScoringConfig):
    """Score a classifier on labelled text: top-1/2/3 with intervals, predictions and a report."""

    model: str
    """Model: Hub name, name@revision or folder."""
    input_hf_dataset: str | None = None
    """Dataset repository (user/name[@revision]) or folder; its test split is scored."""
    input_dir: str | None = None
    """Folder of a local file to score instead."""
    filename: str | None = None
    """The local file (.jsonl, .jsonl.gz, .csv, .parquet) or glob."""
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
        one_source(self.input_hf_dataset, self.input_dir, self.filename)
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
        return self.input != "-" and not output.endswith((".json", ".csv", ".parquet", ".gz"))


@dataclass(frozen=True, kw_only=True)
class AuditConfig(CommonConfig):
    """List the rows whose label is suspect, by a model that has not seen them; nothing is changed."""

    input_hf_dataset: str | None = None
    """Dataset repository (user/name[@revision]) or folder with train.csv and test.csv."""
    split: Literal["all", "train", "test"] = "all"
    """Which rows of the dataset are audited; each is judged by models of others among these."""
    input_dir: str | None = None
    """Folder of local files to audit instead."""
    filename: str | None = None
    """The local file (.jsonl, .jsonl.gz, .csv, .parquet) or glob."""
    output_filename: Annotated[str, arg(aliases=["-o"])]
    """DIR/NAME.jsonl; the outputs are DIR/NAME_suspects.jsonl, DIR/NAME_audit.json and DIR/NAME_audit.html."""
    text: str = "text"
    """Column that holds the text."""
    subject_column: str = "label"
    """Column that holds the label."""
    hf_access_token: HfToken = secret()
    """Hugging Face token; HF_TOKEN or the Hub's own store serve without it."""
    folds: int = 5
    """Parts of the rows, stratified by label; each is judged by a model of all others (at least 2)."""
    near_copy_threshold: float = 0.9
    """TF-IDF cosine (0 < t <= 1) from which a row is kept out of the model that judges its near-copy, whose label may
    be wrong in the same way."""
    top_share: float = 1.0
    """Share (0 < s <= 1) of the judged rows, most suspect first, that the suspects file lists."""

    def validate(self) -> None:
        super().validate()
        one_source(self.input_hf_dataset, self.input_dir, self.filename)
        require(
            self.split == "all" or self.input_hf_dataset is not None,
            f"--split {self.split} without --input-hf-dataset",
            "a dataset with splits",
        )
        require(self.text != self.subject_column, f"--text and --subject-column both {self.text!r}", "two columns")
        require(
            self.output_filename.endswith(".jsonl"),
            f"--output-filename {self.output_filename!r}",
            "a name that ends in .jsonl",
            f"-o {self.output_filename}.jsonl",
        )
        require(self.folds >= 2, f"--folds {self.folds}", "at least 2")
        fraction(self.near_copy_threshold, "--near-copy-threshold", one_allowed=True)
        fraction(self.top_share, "--top-share", one_allowed=True)


@dataclass(frozen=True, kw_only=True)
class RunConfig(CommonConfig):
    """Prepare, train and evaluate from one TOML file, into RUN/{prepare,train,evaluate}."""

    run_dir: str | None = None
    """Folder of the whole run (runs/run-UTC by default); its index.html is the entrance."""

    def validate(self) -> None:
        super().validate()
        require(
            self.config is not None,
            "no --config",
            "a TOML file with [prepare] and [train]",
            "start from jobs/configs/banking77.toml",
        )


@dataclass(frozen=True, kw_only=True)
class DemoConfig(CommonConfig):
    """The whole road offline on the CPU, on the docstrings of the installed packages."""

    output_dir: str = "out/demo"
    """Folder of the demo's run."""
    rows: int = 6_000
    """Rows of the docstring corpus to take (500 to 100000)."""
    epochs: float = 4.0
    """Passes over the training rows."""

    def validate(self) -> None:
        super().validate()
        require(500 <= self.rows <= 100_000, f"--rows {self.rows}", "500 to 100000")
        require(0 < self.epochs <= 100, f"--epochs {self.epochs}", "more than 0, at most 100")


@dataclass(frozen=True, kw_only=True)
class DoctorConfig(CommonConfig):
    """Say what this machine or cluster can do, and what is missing."""

    cluster: bool = False
    """Also prove on the cluster: machines, GPUs, equal versions, an all-reduce between workers, shared storage."""
    storage: str | None = None
    """Folder or address (s3://BUCKET/PREFIX) that --cluster writes to on one machine and reads on the others."""

    def validate(self) -> None:
        super().validate()
        require(self.cluster or self.storage is None, "--storage without --cluster", "both", "add --cluster")


def require(holds: bool, got: str, expected: str, remedy: str = "") -> None:
    """Raise ConfigError unless the condition holds."""
    if not holds:
        raise ConfigError(got, expected, remedy)


def one_source(dataset: str | None, folder: str | None, filename: str | None) -> None:
    """Raise ConfigError unless rows come from a dataset, or from local files."""
    local, both = bool(folder and filename), bool(dataset and (folder or filename))
    require(
        local != bool(dataset) and not both,
        "not exactly one source of rows",
        "--input-hf-dataset, or --input-dir with --filename",
    )


def fraction(value: float, flag: str, one_allowed: bool = False) -> None:
    """Raise ConfigError unless 0 < value < 1, or = 1 where that is allowed."""
    high = "<= 1" if one_allowed else "< 1"
    require(0 < value < 1 or (one_allowed and value == 1), f"{flag} {value}", f"a number > 0 and {high}")


def nearest(name: str, known: Iterable[str]) -> str:
    """The remedy "did you mean ...", or "" where nothing is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else ""


def _groups(pattern: str) -> int:
    try:
        return re.compile(pattern).groups
    except re.error as error:
        raise ConfigError(f"--token-pattern {pattern!r}", "a regular expression", str(error)) from None
