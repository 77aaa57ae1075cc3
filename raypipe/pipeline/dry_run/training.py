"""What a training and its evaluation would need: the plan of batches by real lengths, and batches timed."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from raypipe import hub, splits
from raypipe.config import TrainConfig
from raypipe.estimate import (
    ASSUMED_MFU,
    DRIVER_MIB,
    RAY_MIB,
    RAY_START_S,
    TIMED_S,
    TOKENISE_START_S,
    TRAIN_START_S,
    Estimate,
    Machine,
    assumed_flops,
    machine_of,
    require_cpus,
    uses_gpu,
)
from raypipe.hub import Source
from raypipe.pipeline import fitting
from raypipe.pipeline.common import hf_token
from raypipe.pipeline.dry_run.scoring import ToScore, add_scoring
from raypipe.pipeline.dry_run.tokenising import Encoded, encoded
from raypipe.schema import TEST, TEXT, TRAIN
from raypipe.splits import Splits

DATASET_BYTES = 32 << 20  # of each CSV file of a dataset that are read
OVERHEAD_MIB = 300  # of a training worker beyond what a rehearsal in one process holds: Ray, and the best weights


class Sampled(NamedTuple):
    """A dataset, or a part of it, and which share of each split that is."""

    splits: Splits
    shares: dict[str, float]

    @property
    def is_whole(self) -> bool:
        return all(share == 1 for share in self.shares.values())


class PredictedFit(NamedTuple):
    """One training, predicted."""

    train_s: float  # of the loop
    classifier: Any  # with random weights
    memory_mib: float
    gpu_memory_mib: float | None
    notes: list[str]


class Tokens(NamedTuple):
    """The rows of a training in tokens."""

    training: Encoded
    validation: Encoded
    notes: list[str]


def estimate_train(config: TrainConfig) -> Estimate:
    """Predict train on its dataset. Raises ConfigError or DataError as the real run would."""
    return estimate_training(config, load(config))


def load(config: TrainConfig) -> Sampled:
    """The dataset of --input-hf-dataset, or the first part of a large one. Raises ConfigError or DataError."""
    found = Sampled(
        *splits.sample(
            str(config.input_hf_dataset), config.text, config.subject_column, hf_token(config), DATASET_BYTES
        )
    )
    if found.is_whole:
        splits.require_trainable(found.splits)
    return found


def estimate_training(config: TrainConfig, data: Sampled) -> Estimate:
    """Predict the training on this data, and the evaluation of its model on the test split."""
    machine, token = machine_of(config), hf_token(config)
    workers = workers_of(config, machine)
    base = hub.resolve(config.model_for_training_finetune, "model", token)
    tokens = tokenise(config, base, data, token)
    fit = predict_fit(config, workers, base, tokens, data.splits, machine, token)
    test = encoded(data.splits.test[TEXT], data.shares[TEST], base, config, token)
    rows = {TRAIN: tokens.training.rows, "validation": tokens.validation.rows, TEST: test.rows}
    encode_s = tokens.training.seconds + tokens.validation.seconds
    estimate = Estimate(
        seconds={"start": RAY_START_S, "tokenise": TOKENISE_START_S + encode_s, "fit": TRAIN_START_S + fit.train_s},
        counts={"rows_in": sum(rows.values()), **rows},
        memory_mib={"driver": DRIVER_MIB, "worker": fit.memory_mib, "ray": RAY_MIB},
        workers=workers.most,
        notes=[*machine.notes, *fit.notes, *tokens.notes, *_notes(data)],
    )
    add_tokens(estimate, tokens.training)
    if fit.gpu_memory_mib is not None:
        estimate.memory_mib["gpu"] = fit.gpu_memory_mib
    if workers.use_gpu:
        estimate.gpu_seconds += workers.most * estimate.seconds["fit"]
    scored = ToScore(
        test.rows, test.lengths, test.seconds, data.splits.labels, base, fit.classifier, data.splits, data.shares[TRAIN]
    )
    add_scoring(estimate, scored, config, machine, workers.use_gpu, config.baselines)
    return estimate


def tokenise(config: TrainConfig, base: Source, data: Sampled, token: str | None) -> Tokens:
    """Training and validation rows, held out as the run does it, in the tokens of a base model."""
    from raypipe.train import finetune

    training, validation = finetune.hold_out(data.splits.train, data.splits.labels, config)
    return Tokens(
        encoded(training[TEXT], data.shares[TRAIN], base, config, token),
        encoded(validation[TEXT], data.shares[TRAIN], base, config, token),
        fitting.validation_notices(validation, data.splits.labels) if data.is_whole else [],
    )


def add_tokens(estimate: Estimate, training: Encoded) -> None:
    """Put the tokens of the training rows, and what is cut of them, into the estimate."""
    estimate.tokens, estimate.tokens_cut = training.tokens, training.tokens_cut
    estimate.rows_tokenised, estimate.rows_cut = training.rows, training.rows_cut
    estimate.counts |= {"tokens": training.tokens, "rows_cut": training.rows_cut, "tokens_cut": training.tokens_cut}


def workers_of(config: TrainConfig, machine: Machine) -> Any:
    """What the training runs on, as train.finetune.Workers. Raises ConfigError for more workers than CPUs."""
    from raypipe.train import finetune

    least, _ = config.workers_range()
    workers = finetune.workers_on([float(machine.cpus)], uses_gpu(config, machine, least), config)
    if not workers.use_gpu:
        require_cpus(machine, workers.least)
    return workers


def predict_fit(
    config: TrainConfig,
    workers: Any,
    base: Source,
    tokens: Tokens,
    data: Splits,
    machine: Machine,
    token: str | None,
    limit_s: float = TIMED_S,
    **more: Any,
) -> PredictedFit:
    """The loop of one training, timed for about ``limit_s``; ``more`` are fields of its job that only a sweep has."""
    from raypipe.train import modeling, rehearsal

    recipe, _ = fitting.recipe_of(config, base, token)
    job = fitting.job_of(config, workers, base, recipe, data, token, None, "dry-run", **more)
    plan = rehearsal.plan(job, tokens.training.of_all_rows(), tokens.validation.of_all_rows(), workers.most)
    notes = []
    if workers.most > 1:
        notes.append(f"{workers.most} workers: what they tell each other between steps is not part of the estimate")
    if workers.use_gpu and not machine.gpus:
        seconds = rehearsal.flop(modeling.load_config(base, token), plan) / assumed_flops(config)
        notes.append(
            f"no GPU here to measure: the model's arithmetic at an assumed {ASSUMED_MFU:.0%} of the peak of a "
            f"{config.assume_gpu.upper()} (--assume-gpu); its memory is not predicted"
        )
        classifier = modeling.blank_classifier(base, data.labels, token)
        return PredictedFit(seconds, classifier, OVERHEAD_MIB, None, notes)
    paced = rehearsal.rehearse(job, plan, limit_s)
    memory = paced.memory_mib + OVERHEAD_MIB
    return PredictedFit(paced.train_s, paced.model, memory, paced.gpu_memory_mib, notes)


def _notes(data: Sampled) -> list[str]:
    if data.is_whole:
        return []
    share = min(data.shares.values())
    return [f"the first {share:.1%} of the dataset were read; the rest is taken to be like it"]


def as_splits(train: pd.DataFrame, test: pd.DataFrame, share: float, name: str) -> Sampled:
    """Frames that are not written yet, as a dataset."""
    return Sampled(Splits(train, test, Source(name)), {TRAIN: share, TEST: share})


def frame_of(texts: list[str], labels: np.ndarray) -> pd.DataFrame:
    """Texts and labels as a split holds them."""
    from raypipe.schema import ID, LABEL, WEIGHT

    return pd.DataFrame({TEXT: texts, LABEL: labels, ID: [str(n) for n in range(len(texts))], WEIGHT: 1.0})
