"""The flags of `train`."""

import math
import re
from dataclasses import dataclass
from typing import Literal

from raypipe.config.checks import fraction, require
from raypipe.config.common import WandbToken, secret
from raypipe.config.estimate import EstimatedConfig
from raypipe.config.scoring import MAX_LENGTH, ScoringConfig

DEFAULT_MODEL = "MoritzLaurer/deberta-v3-base-zeroshot-v1.1-all-33"

# Tokens of one training batch of one worker. On a CPU larger batches leave the cache; on a GPU it is a whole step of
# base and larger models at full length (32 rows of 512 tokens).
CPU_TOKEN_BUDGET, GPU_TOKEN_BUDGET = 4_096, 16_384


@dataclass(frozen=True, kw_only=True)
class TrainConfig(ScoringConfig, EstimatedConfig):
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
    max_length: int = MAX_LENGTH
    """Tokens of a row beyond which it is cut (8 to 512); stored with the model. A model that has fewer positions cuts
    there."""
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
    """fused: the kernel of disentangled-flash, for DeBERTa-v2/v3 on a GPU, where it agrees with eager on a batch.
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
