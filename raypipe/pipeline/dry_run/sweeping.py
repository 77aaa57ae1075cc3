"""What a sweep would need: each choice's training, so many at a time, whole and as asha is expected to cut it."""

from typing import Any

from raypipe import hub
from raypipe.config import SweepConfig
from raypipe.estimate import DRIVER_MIB, RAY_MIB, RAY_START_S, TOKENISE_START_S, TRIAL_START_S, Estimate, machine_of
from raypipe.pipeline.common import hf_token
from raypipe.pipeline.dry_run.training import add_tokens, load, predict_fit, tokenise, workers_of
from raypipe.schema import TRAIN


def estimate_sweep(config: SweepConfig) -> Estimate:
    """Predict a sweep. Raises ConfigError or DataError as the real run would."""
    from raypipe.pipeline.sweeping import choices_of, with_choice
    from raypipe.train import modeling
    from raypipe.train import sweep as tuning
    from raypipe.train.recipe import recipe_for

    machine, token, data = machine_of(config), hf_token(config), load(config)
    names = config.try_models or (config.model_for_training_finetune,)
    bases = {name: hub.resolve(name, "model", token) for name in names}
    recipes = {
        name: recipe_for(modeling.parameters(modeling.load_config(base, token)), config) for name, base in bases.items()
    }
    whole_workers = workers_of(config, machine)
    choices = choices_of(config, {name: recipe.epochs for name, recipe in recipes.items()}, whole_workers.use_gpu)
    most = None if config.max_concurrent == "auto" else int(config.max_concurrent)
    have = max(1, machine.gpus) if whole_workers.use_gpu else machine.cpus
    at_once, workers = tuning.share_out_of(have, whole_workers, len(choices), most)
    tokens = {name: tokenise(config, base, data, token) for name, base in bases.items()}
    paces: dict[Any, Any] = {}
    whole = []
    for choice in choices:
        same = (choice.model, choice.epochs, choice.token_budget)  # the rate changes no time
        if same not in paces:
            paces[same] = predict_fit(
                with_choice(config, choice),
                workers,
                bases[choice.model],
                tokens[choice.model],
                data.splits,
                machine,
                token,
                evaluations_per_epoch=config.evaluations_per_epoch,
            )
        whole.append(TRIAL_START_S + paces[same].train_s)
    fit = next(iter(paces.values()))
    full = sum(whole) / at_once
    evaluations = config.evaluations_per_epoch * max(choice.epochs for choice in choices)
    trials = full * (share_run(len(choices), evaluations) if config.scheduler == "asha" else 1)
    if config.time_budget_minutes is not None:
        trials = min(trials, 60 * config.time_budget_minutes)
    encode_s = sum(one.training.seconds + one.validation.seconds for one in tokens.values())
    first = tokens[names[0]]
    estimate = Estimate(
        seconds={"start": RAY_START_S, "tokenise": TOKENISE_START_S * len(names) + encode_s, "trials": trials},
        counts={"trials": len(choices), "at_once": at_once, TRAIN: first.training.rows},
        memory_mib={"driver": DRIVER_MIB, "worker": fit.memory_mib, "ray": RAY_MIB},
        workers=at_once * workers.most,
        gpu_seconds=trials * at_once * workers.most if workers.use_gpu else 0.0,
        notes=[*machine.notes, *fit.notes],
    )
    estimate.counts["validation"] = first.validation.rows
    add_tokens(estimate, first.training)
    if trials < full:
        estimate.notes.append(f"with all trials run to their end the trials would take {full:,.0f} s")
    return estimate


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
