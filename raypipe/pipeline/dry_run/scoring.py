"""What scoring rows would need, for evaluate and for the evaluation that ends a training."""

from typing import Any, NamedTuple

import numpy as np

from raypipe.config import EstimatedConfig, ScoringConfig
from raypipe.estimate import COMPARE_START_S, SCORE_START_S, STAGE_S, Estimate, Machine, assumed_flops
from raypipe.evaluate import baseline, rehearsal
from raypipe.evaluate.actors import Actors, actors_on
from raypipe.evaluate.evaluate import HEADLINE
from raypipe.evaluate.forward import Forward
from raypipe.evaluate.precision import SAMPLE_ROWS, WORTH_IT
from raypipe.hub import Source
from raypipe.schema import LABEL, TEXT
from raypipe.splits import Splits
from raypipe.train.devices import has_fast_bf16


class ToScore(NamedTuple):
    """Rows to be scored by a model."""

    rows: int
    lengths: np.ndarray  # (sample,) tokens of rows after the cut
    encode_s: float  # to tokenise all of them on one CPU
    labels: list[str]
    model: Source
    classifier: Any  # on its device
    splits: Splits | None  # with training rows for the baselines
    share: float  # of the training rows that ``splits`` has


def add_scoring(
    estimate: Estimate, to_score: ToScore, config: ScoringConfig, machine: Machine, is_gpu: bool, baselines: bool
) -> Actors:
    """Add the stages score and judge, and the comparison of precisions before them; returns what scores."""
    actors = actors_on([machine.cpus], max(1, machine.gpus) if is_gpu else 0, to_score.rows)
    measured = not is_gpu or machine.gpus > 0
    precision = _precision(config, to_score.rows, is_gpu, measured)
    shapes = rehearsal.pass_shapes(to_score.lengths, to_score.rows, config.eval_batch_size, actors.tokens)
    tokens = sum(rows * width for rows, width in shapes)
    token_s = _token_seconds(to_score, config, actors, precision, shapes, measured)
    fit = _baselines_s(to_score, config) if baselines and to_score.splits is not None else 0.0
    # The baselines are fitted meanwhile, on the same CPUs.
    score = SCORE_START_S + max(tokens * token_s, to_score.encode_s) / actors.count + fit / machine.cpus
    if precision == "bf16" and config.scoring_precision() == "auto":
        estimate.seconds["compare"] = COMPARE_START_S + 3 * min(SAMPLE_ROWS, to_score.rows) / to_score.rows * (
            tokens * token_s
        )
    estimate.seconds["score"] = score
    judging = rehearsal.judging_seconds(to_score.rows, to_score.labels, config.seed, config.top_k)
    estimate.seconds["judge"] = STAGE_S + judging + max(0.0, fit - score)
    if is_gpu:
        estimate.scoring_gpu_seconds = actors.count * score
        estimate.gpu_seconds += estimate.scoring_gpu_seconds
    return actors


def _precision(config: ScoringConfig, rows: int, is_gpu: bool, measured: bool) -> str:
    """The one that is likely: a reduced one is refused by few models."""
    asked = config.scoring_precision()
    if asked != "auto":
        return asked
    has_bf16 = has_fast_bf16(not is_gpu) if measured else True
    return "bf16" if rows >= WORTH_IT and has_bf16 else "fp32"


def _token_seconds(
    to_score: ToScore,
    config: ScoringConfig,
    actors: Actors,
    precision: str,
    shapes: list[tuple[int, int]],
    measured: bool,
) -> float:
    """Of a token in a pass of one actor."""
    if measured:
        device = (precision, actors.use_gpu, actors.threads, actors.tokens)
        forward = Forward(to_score.model, None, *device, classifier=to_score.classifier)
        return rehearsal.token_seconds(forward, shapes)
    from raypipe.train.rehearsal import forward_flop

    assert isinstance(config, EstimatedConfig)
    flop = forward_flop(to_score.classifier.config, shapes)
    return flop / assumed_flops(config) / sum(rows * width for rows, width in shapes)


def _baselines_s(to_score: ToScore, config: ScoringConfig) -> float:
    """Of fitting the baselines; nothing where an earlier run kept them."""
    splits = to_score.splits
    assert splits is not None
    if to_score.share == 1:
        place = baseline.cache_path(splits.row_fingerprint(), config.seed, max(*HEADLINE, config.top_k))
        if baseline.cached(place) is not None:
            return 0.0
    codes = {label: code for code, label in enumerate(splits.labels)}
    texts, labels = splits.train[TEXT].to_list(), splits.train[LABEL].map(codes).to_numpy()
    return rehearsal.baseline_seconds(texts, labels, round(len(texts) / to_score.share), config.seed)
