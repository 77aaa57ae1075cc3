"""What a sweep would need: each choice's training, so many at a time, whole and as asha is expected to cut it."""

from typing import Any, NamedTuple

from raypipe.config import SweepConfig
from raypipe.estimate import (
    DRIVER_MIB,
    RAY_MIB,
    RAY_START_S,
    TIMED_S,
    TOKENISE_START_S,
    TRIAL_START_S,
    Estimate,
    Machine,
    machine_of,
)
from raypipe.hub import Source
from raypipe.pipeline import fitting
from raypipe.pipeline.common import hf_token
from raypipe.pipeline.dry_run.training import (
    PredictedFit,
    Sampled,
    Tokens,
    add_tokens,
    load,
    predict_fit,
    tokenise,
    workers_of,
)
from raypipe.schema import TRAIN


class _Trials(NamedTuple):
    """The choices, what the workers of each take, and how many run at a time."""

    choices: list[Any]  # train.sweep.Choice
    workers: Any  # train.finetune.Workers
    at_once: int


def estimate_sweep(config: SweepConfig) -> Estimate:
    """Predict a sweep. Raises ConfigError or DataError as the real run would."""
    from raypipe.pipeline.sweeping import bases_of

    machine, token, data = machine_of(config), hf_token(config), load(config)
    bases = bases_of(config, token)
    trials = _trials(config, bases, machine, token)
    tokens = {name: tokenise(config, base, data, token) for name, base in bases.items()}
    fits = _fits(config, trials, bases, tokens, data, machine, token)
    work_s = sum(fit.train_s for fit in fits)
    evaluations = config.evaluations_per_epoch * max(choice.epochs for choice in trials.choices)
    share = share_run(len(fits), evaluations) if config.scheduler == "asha" else 1.0
    start_s = TRIAL_START_S * len(fits) / trials.at_once
    trials_s, full_s = (start_s + part * work_s / trials.at_once for part in (share, 1.0))
    if config.time_budget_minutes is not None:
        trials_s = min(trials_s, 60 * config.time_budget_minutes)
    encode_s = sum(one.training.seconds + one.validation.seconds for one in tokens.values())
    first, at_once = next(iter(tokens.values())), trials.at_once * trials.workers.most
    counts = {"trials": len(fits), "at_once": trials.at_once}
    counts |= {TRAIN: first.training.rows, "validation": first.validation.rows}
    estimate = Estimate(
        seconds={"start": RAY_START_S, "tokenise": TOKENISE_START_S * len(bases) + encode_s, "trials": trials_s},
        counts=counts,
        memory_mib={"driver": DRIVER_MIB, "worker": max(fit.memory_mib for fit in fits), "ray": RAY_MIB},
        workers=at_once,
        gpu_seconds=trials_s * at_once if trials.workers.use_gpu else 0.0,
        notes=[*machine.notes, *first.notes, *(note for fit in fits for note in fit.notes)],
    )
    add_tokens(estimate, first.training)
    if trials_s < full_s:
        estimate.notes.append(f"trials that all run to their end would take {full_s:,.0f} s")
    return estimate


def _trials(config: SweepConfig, bases: dict[str, Source], machine: Machine, token: str | None) -> _Trials:
    from raypipe.pipeline.sweeping import choices_of
    from raypipe.train import sweep as tuning

    epochs = {name: fitting.recipe_of(config, base, token)[0].epochs for name, base in bases.items()}
    workers = workers_of(config, machine)
    choices = choices_of(config, epochs, workers.use_gpu)
    have = max(1, machine.gpus) if workers.use_gpu else machine.cpus
    at_once, workers = tuning.share_out_of([have], workers, len(choices), config.most_at_once())
    return _Trials(choices, workers, at_once)


def _fits(
    config: SweepConfig,
    trials: _Trials,
    bases: dict[str, Source],
    tokens: dict[str, Tokens],
    data: Sampled,
    machine: Machine,
    token: str | None,
) -> list[PredictedFit]:
    """Each choice's training; the rate changes no time, so those that differ in it alone are timed once."""
    from raypipe.pipeline.sweeping import with_choice

    kinds = {(choice.model, choice.epochs, choice.token_budget): choice for choice in trials.choices}
    made = {
        kind: predict_fit(
            with_choice(config, choice),
            trials.workers,
            bases[choice.model],
            tokens[choice.model],
            data.splits,
            machine,
            token,
            limit_s=TIMED_S / len(kinds),
            evaluations_per_epoch=config.evaluations_per_epoch,
        )
        for kind, choice in kinds.items()
    }
    return [made[choice.model, choice.epochs, choice.token_budget] for choice in trials.choices]


def share_run(trials: int, evaluations: float) -> float:
    """Of all trials' work, what asha leaves in expectation, for trials of so many evaluations in random order.

    Rungs stand at 1, 3, 9, ... evaluations. The k-th trial that comes to a rung goes on where it is among the best of
    those before it, 1 + (k - 1) // 3 places of k: so the first one always does.
    """
    from raypipe.train.sweep import KEPT_SHARE

    going, share, before, rung = trials, 0.0, 0.0, 1.0
    while before < evaluations:
        until = min(rung, evaluations)
        share += going / trials * (until - before) / evaluations
        going = max(1, round(sum((1 + k // KEPT_SHARE) / (k + 1) for k in range(going))))
        before, rung = until, rung * KEPT_SHARE
    return share
