"""What evaluate would need: rows in the model's tokens, and forward passes timed."""

from typing import NamedTuple

import pandas as pd

from raypipe import splits
from raypipe.config import EvaluateConfig
from raypipe.errors import DataError
from raypipe.estimate import (
    DRIVER_MIB,
    MIB,
    RAY_MIB,
    RAY_START_S,
    READ_START_S,
    WORKER_MIB,
    Estimate,
    machine_of,
    uses_gpu,
)
from raypipe.pipeline.common import hf_token
from raypipe.pipeline.dry_run.scoring import ToScore, add_scoring
from raypipe.pipeline.dry_run.tokenising import encoded
from raypipe.pipeline.dry_run.training import DATASET_BYTES
from raypipe.pipeline.evaluating import resolve_classifier
from raypipe.pipeline.rows import inputs
from raypipe.schema import TEST, TEXT, TRAIN
from raypipe.splits import Splits


def estimate_evaluate(config: EvaluateConfig) -> Estimate:
    """Predict evaluate. Raises ConfigError or DataError as the real run would."""
    from raypipe.train import modeling

    token, machine = hf_token(config), machine_of(config)
    model = resolve_classifier(config.model, token)
    estimate = Estimate({"start": RAY_START_S}, memory_mib={"driver": DRIVER_MIB, "ray": RAY_MIB})
    found = _rows(config, token, estimate)
    test = encoded(found.texts, found.share, model, config, token)
    estimate.counts = {"rows_in": found.rows_in, "rows": test.rows, "tokens": test.tokens, "rows_cut": test.rows_cut}
    estimate.tokens, estimate.tokens_cut = test.tokens, test.tokens_cut
    estimate.rows_tokenised, estimate.rows_cut = test.rows, test.rows_cut
    classifier = modeling.blank_classifier(model, modeling.labels_of(modeling.load_config(model, token)), token)
    weights = sum(p.numel() * p.element_size() for p in classifier.parameters()) / MIB
    estimate.memory_mib["worker"] = WORKER_MIB + 300 + 2 * weights
    estimate.notes += machine.notes
    labels = modeling.labels_of(classifier.config)
    encoded_rows = (test.rows, test.lengths, test.seconds)
    to_score = ToScore(*encoded_rows, labels, model, classifier.eval(), found.splits, found.share_of_train)
    actors = add_scoring(estimate, to_score, config, machine, uses_gpu(config, machine), config.baselines)
    estimate.workers = actors.count
    return estimate


class _Rows(NamedTuple):
    """Texts to score, and what stands beside them."""

    texts: "pd.Series[str]"
    share: float  # of all texts
    rows_in: int
    splits: Splits | None  # with training rows for the baselines
    share_of_train: float


def _rows(config: EvaluateConfig, token: str | None, estimate: Estimate) -> _Rows:
    """The test split, or the usable rows of local files, whose reading is a stage of its own."""
    from raypipe.data import sample

    if config.input_hf_dataset is not None:
        data, shares = splits.sample(config.input_hf_dataset, config.text, config.subject_column, token, DATASET_BYTES)
        return _Rows(data.test[TEXT], shares[TEST], round(len(data.test) / shares[TEST]), data, shares[TRAIN])
    folder, files = inputs(str(config.input_dir), str(config.filename), config.text, config.subject_column)
    taken = sample.take(folder, files, config.text, config.subject_column)
    estimate.seconds["read"] = READ_START_S + taken.seconds / taken.share
    usable = [record.text for _, record in taken.records if not record.reason]
    if not usable:
        raise DataError(f"none of the {len(taken.records)} rows can be used", "rows with the text and label columns")
    return _Rows(pd.Series(usable), taken.share, taken.all_rows(), None, 1.0)
