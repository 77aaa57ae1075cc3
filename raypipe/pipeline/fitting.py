"""What train and sweep share: rows held out and tokenised once, and what the workers are told."""

import os
from typing import Any, NamedTuple

from raypipe import splits
from raypipe.config import CPU_TOKEN_BUDGET, GPU_TOKEN_BUDGET, TrainConfig
from raypipe.hub import Source
from raypipe.runtime import say
from raypipe.schema import LABEL, TEST, TRAIN
from raypipe.tokens import Secret

_NEEDED_AGAIN = ("max_cpu_hours", "max_failures", "checkpoint_minutes")  # decide no number, but whether a run can end
MANY_CUT = 0.05  # share of rows or tokens cut beyond which the line about it is a warning


class Tokenised(NamedTuple):
    """Blocks of token ids in the object store, and what became of the rows."""

    train: list[Any]
    validation: list[Any]
    rows: dict[str, int]
    cut: dict[str, Any]
    notices: list[str]


def recipe_of(config: TrainConfig, base: Source, token: str | None) -> tuple[Any, int]:
    """How a base model is fine-tuned, and its number of parameters. Raises ConfigError for pickled weights."""
    from raypipe.train import modeling
    from raypipe.train.recipe import recipe_for

    model_config = modeling.load_config(base, token)
    modeling.require_encoder(model_config, base)
    size = modeling.parameters(model_config)
    modeling.require_safetensors(base, token)
    modeling.require_tokenizer(base, token)
    return recipe_for(size, config), size


def tokenise(config: TrainConfig, base: Source, data: splits.Splits, token: str | None) -> Tokenised:
    """The training rows and the validation share of them in the tokens of a base model; says its notices."""
    from raypipe.train import finetune, modeling

    training, validation = finetune.hold_out(data.train, data.labels, config)
    most = modeling.most_tokens(modeling.load_config(base, token), config.max_length)
    if most < config.max_length:
        say(f"{base} has {most} positions for tokens: texts are cut there, below --max-length {config.max_length}")
    blocks = [
        finetune.tokenise(frame, data.labels, base, Secret(token), most, config.truncation)
        for frame in (training, validation)
    ]
    cut = {"kind": config.truncation, "max_length": most, **finetune.count_cut(blocks[0])}
    rows = {TRAIN: len(training), "validation": len(validation), TEST: len(data.test)}
    notices = validation_notices(validation, data.labels) + _cut_notices(cut)
    for notice in notices:
        say(notice)
    return Tokenised(blocks[0], blocks[1], rows, cut, notices)


def job_of(
    config: TrainConfig,
    workers: Any,
    base: Source,
    recipe: Any,
    data: splits.Splits,
    token: str | None,
    key: str | None,
    run_name: str,
    **more: Any,
) -> Any:
    """What the workers are told; ``more`` are fields that only a sweep has."""
    from raypipe.train.job import TrainJob

    return TrainJob(
        model=base,
        labels=data.labels,
        recipe=recipe,
        seed=config.seed,
        use_cpu=not workers.use_gpu,
        precision=config.precision,
        threads=int(workers.cpus_each),
        forecast_limit_s=workers.forecast_limit_s,
        early_stopping_patience=config.early_stopping_patience,
        hf_token=Secret(token),
        wandb_key=Secret(key),
        wandb_mode=os.environ.get("WANDB_MODE"),
        run_name=run_name,
        tracked_config={**config.deciding(), **recipe.public(), "data_fingerprint": data.fingerprint()},
        token_budget=token_budget(config, workers.use_gpu),
        truncation=config.truncation,
        max_length=config.max_length,
        balanced_classes=config.class_weights == "balanced",
        checkpoint_minutes=config.checkpoint_minutes,
        attention=config.attention,
        most_workers=workers.most,
        **more,
    )


def token_budget(config: TrainConfig, use_gpu: bool) -> int:
    """The flag's, or the default of the device."""
    return config.token_budget or (GPU_TOKEN_BUDGET if use_gpu else CPU_TOKEN_BUDGET)


def validation_notices(validation: Any, labels: list[str]) -> list[str]:
    """A line where some classes have no row in the validation frame."""
    validated = validation[LABEL].nunique()
    if validated == len(labels):
        return []
    return [
        f"warning: the {len(validation):,} validation rows are of {validated} of the {len(labels)} classes; the best "
        "epoch is chosen by these alone, and a larger --validation-fraction holds out rows of smaller classes"
    ]


def _cut_notices(cut: dict[str, Any]) -> list[str]:
    """A line on training texts that were cut, where there are any; a warning where they are many."""
    if not cut["rows_cut"]:
        return []
    rows, tokens = cut["rows_cut"] / cut["rows"], cut["tokens_cut"] / cut["tokens"]
    line = (
        f"{cut['rows_cut']:,} training texts ({rows:.1%}) were longer than {cut['max_length']} tokens and were "
        f"cut ({cut['kind']}), which lost {tokens:.1%} of the tokens"
    )
    better = "a larger --max-length" + " or --truncation head_tail" * (cut["kind"] == "head")
    return [f"warning: {line}; {better} may do better" if max(rows, tokens) > MANY_CUT else line]


def as_toml(config: TrainConfig, base: Source, data: Source, comment: str) -> str:
    """The flags of train that repeat a run, on the commits that it read."""
    import dataclasses

    import tomli_w

    known = {f.name for f in dataclasses.fields(TrainConfig)}
    deciding = config.deciding() | {name: getattr(config, name) for name in _NEEDED_AGAIN}
    values = {k: v for k, v in deciding.items() if v is not None and k in known}
    values |= {"model_for_training_finetune": str(base), "input_hf_dataset": str(data)}
    return f"# {comment}\n{tomli_w.dumps({'train': values})}"
