"""train: fine-tune a model, evaluate it on the test split, push it when asked."""

import contextlib
import dataclasses
import os
from typing import Any

from raypipe import __version__, hub, locks, provenance, splits, storage
from raypipe.config import EvaluateConfig, TrainConfig
from raypipe.errors import ConfigError
from raypipe.hub import Source
from raypipe.pipeline import evaluating, fitting, tracked, train_record
from raypipe.pipeline.common import Clock, finished_output, hf_token, read_mark, refuse_completed, wandb_key, write_json
from raypipe.pipeline.kept import is_unfinished, open_unfinished, refuse_users, undone
from raypipe.runtime import require_shared, say, session
from raypipe.schema import StageResult


def train(config: TrainConfig) -> StageResult:
    """Fine-tune on the train split, choose by a validation share of it, evaluate on test.

    Raises ConfigError or DataError before work starts.
    """
    config.validate()
    if config.examples or not config.train:
        return _evaluate_only(config)
    token = hf_token(config)
    key = wandb_key(config)
    folder = _folder(config)
    storage.require_writable(folder)
    hub.target_of(config.hf_model_name, "model", token, folder, config.overwrite or config.resume)
    run = _Run(config, folder, token, key)
    finished = run.finished()
    if finished is not None:
        return run.again(finished)
    if config.dry_run:
        from raypipe.pipeline import dry_run

        return dry_run.answer("train", dry_run.estimate_train(config), config, run.clock.total())
    run.read_local()
    with session(config), contextlib.ExitStack() as held:
        return run.go(held)


def at_the_door(config: TrainConfig) -> None:
    """What can be refused before the dataset is there: base model and push target. Raises ConfigError."""
    token = hf_token(config)
    hub.target_of(config.hf_model_name, "model", token, _folder(config), config.overwrite or config.resume)
    _resolve(config, token)


def _resolve(config: TrainConfig, token: str | None) -> tuple[Source, Any, int]:
    """The base model, its recipe and its number of parameters. Raises ConfigError."""
    base = hub.resolve(config.model_for_training_finetune, "model", token)
    return base, *fitting.recipe_of(config, base, token)


class _Run:
    """One training: what it read, what it made, and the record of both."""

    def __init__(self, config: TrainConfig, folder: str, token: str | None, key: str | None) -> None:
        self.config, self.folder, self.token, self.key = config, folder, token, key
        self.clock = Clock()
        self.mark = storage.join(folder, "run.json")
        self.checkpoints = storage.join(folder, ".ray")  # Ray Train's own storage, where all machines see it
        self.was_killed = config.resume and is_unfinished(self.checkpoints)  # what is complete is of an earlier run
        self.is_new = True  # the folder is not there yet
        self.goes_on = False  # from a checkpoint of a killed run
        self.data: splits.Splits | None = None  # where it is on this machine, as the base model
        self.base: tuple[Source, Any, int] | None = None
        self.predictions = evaluating.Outputs(config.output_classify_file or storage.join(folder, "predictions.jsonl"))

    def finished(self) -> dict[str, Any] | None:
        """What --resume may keep of an earlier run. Raises ConfigError where an output or its place is another's."""
        model = storage.join(self.folder, "model")
        found = None if self.was_killed else finished_output(self.mark, self.config, [model])
        self._refuse_places()
        return found

    def _refuse_places(self) -> None:
        """Refuse places beside the run's folder that cannot be written to, or hold another's. Raises ConfigError."""
        config, mark = self.config, self.predictions.mark
        storage.require_writable(self.predictions.folder)
        self.predictions.refuse_prepared()
        if config.wandb_output is not None:
            storage.require_writable(storage.parent(storage.absolute(config.wandb_output)))
        if storage.exists(mark) and not (config.overwrite or self.was_killed):
            theirs = read_mark(mark).get("config_hash")
            if not config.resume or theirs != config.hash():
                raise ConfigError(f"a complete output exists: {mark}", "a new --output-classify-file", "--overwrite")
        if not self.was_killed:
            refuse_users(config, mark, self.predictions.stem, self.predictions.predictions_path)

    def outputs(self) -> dict[str, str]:
        """What a finished run has, by kind."""
        named = {"model": "model", "metrics": "metrics.json", "history": "history.json", "report": "report.html"}
        own = {kind: storage.join(self.folder, name) for kind, name in named.items()}
        return {"run": self.folder, **self.predictions.paths(), **own}

    def again(self, finished: dict[str, Any]) -> StageResult:
        """A finished run kept by --resume; a push that was asked for is repeated. Raises ConfigError for other data."""
        config, outputs = self.config, self.outputs()
        lacking = [path for path in outputs.values() if not storage.exists(path)]
        if lacking:
            raise ConfigError(
                f"--resume of a finished training without {lacking[0]}",
                "all its outputs",
                "raypipe evaluate writes predictions of its model; --overwrite trains again",
            )
        data = splits.load(str(config.input_hf_dataset), config.text, config.subject_column, self.token)
        base = hub.resolve(config.model_for_training_finetune, "model", self.token)
        found = data.fingerprint(), hub.fingerprint(base)
        if found != (finished["dataset"]["fingerprint"], finished["model"].get("fingerprint")):
            raise ConfigError("--resume with changed data or base model", "those of the finished run", "--overwrite")
        if config.hf_model_name is not None:
            outputs["published"] = self._push(outputs["model"], config.hf_model_name)
        return StageResult("train", config.hash(), "skipped", outputs, finished["rows"], finished["scores"])

    def read_local(self) -> None:
        """What is on this machine is read before Ray starts, so that a wrong name costs no minute."""
        config = self.config
        if not hub.is_repository(str(config.input_hf_dataset)):
            self.data = self._load()
        if not hub.is_repository(config.model_for_training_finetune):
            self.base = _resolve(config, self.token)

    def _load(self) -> splits.Splits:
        config = self.config
        data = splits.load(str(config.input_hf_dataset), config.text, config.subject_column, self.token)
        splits.require_trainable(data)
        return data

    def go(self, held: contextlib.ExitStack) -> StageResult:
        """Train and evaluate; a second training into the same folder is locked out by then."""
        from raypipe.report import console

        fitted = self._fitted(held)
        outputs = self.outputs()
        model = Source(outputs["model"])
        test = evaluating.of_splits(fitted.data, self.config.eval_batch_size)
        metrics = evaluating.score_and_write(
            test, model, self.token, self.config, self.predictions, self.config.baselines, self.clock
        )
        run = train_record.record(fitted, self.config, metrics, outputs, self.clock.seconds)
        self._write(run, metrics, fitted.outcome, model)
        console.forecast_table(run["forecasts"])
        locks.retire(self.checkpoints)
        if self.config.hf_model_name is not None:
            outputs["published"] = self._push(model.name, self.config.hf_model_name)
        return StageResult("train", self.config.hash(), "done", outputs, fitted.rows, run["scores"], self.clock.total())

    def _fitted(self, held: contextlib.ExitStack) -> train_record.Fitted:
        """All that can be refused before work, then the training."""
        from raypipe.train.finetune import choose_workers

        config = self.config
        workers = choose_workers(config)  # first of all: a missing GPU must not cost a download
        base, recipe, size = self.base or _resolve(config, self.token)
        require_shared(self.folder, self.predictions.folder, base.name if base.is_folder else None, config.wandb_output)
        target = config.hf_model_name
        require_shared(None if hub.is_repository(target or "") else target)
        license_name = hub.license_of(hub.card(base, "model", self.token))
        described = train_record.Base(base, hub.fingerprint(base), size, license_name)
        data = self.data or self._load()
        say(f"{base} ({size / 1e6:.0f} M parameters): {recipe.epochs:g} epochs at {recipe.learning_rate:g}")
        self.is_new = not storage.exists(self.folder)
        held.enter_context(locks.locked(self.checkpoints))
        # Both are asked again: while this run waited, another one may have ended.
        self.was_killed = config.resume and is_unfinished(self.checkpoints)
        refuse_completed(self.mark, self.finished())
        self._open_checkpoints(described.fingerprint, data)
        outcome, made = self._fit(workers, base, recipe, data)
        for notice in outcome["notices"]:
            say(notice)
        notices = made.notices + outcome["notices"]
        return train_record.Fitted(described, data, recipe, workers, outcome, made.rows, made.cut, notices)

    def _write(self, run: dict[str, Any], metrics: dict[str, Any], outcome: dict[str, Any], model: Source) -> None:
        """The card into the model's folder, test scores to W&B, and the files that complete the run."""
        from raypipe.report import cards, pages

        storage.write_text(storage.join(model.name, "README.md"), cards.model_card(run, metrics))
        page = pages.train_page(run, metrics, outcome["history"])
        tracked.add_results(self.folder, outcome["wandb"], self.key, metrics)
        if self.config.wandb_output is not None:
            storage.write_text(storage.absolute(self.config.wandb_output), page)
        with storage.staged(self.folder, "run.json", ["metrics.json", "history.json", "report.html"]) as stage:
            write_json(os.path.join(stage, "metrics.json"), metrics)
            write_json(os.path.join(stage, "history.json"), outcome["history"])
            storage.write_text(os.path.join(stage, "report.html"), page)
            write_json(os.path.join(stage, "run.json"), run)

    def _open_checkpoints(self, fingerprint: str, data: splits.Splits) -> None:
        """The folder of checkpoints; empty but for --resume. Raises ConfigError where it is of another training."""
        plan = {
            # Neither changes the rows of a step, and so the training goes on with others (train/batching.py).
            "config_hash": dataclasses.replace(self.config, num_workers=1, token_budget=None).hash(),
            "dataset": data.fingerprint(),
            "model": fingerprint,
            "raypipe": __version__,
        }
        self.goes_on = open_unfinished(self.checkpoints, plan, self.config.resume, self.folder)

    def _fit(
        self, workers: Any, base: Source, recipe: Any, data: splits.Splits
    ) -> tuple[dict[str, Any], fitting.Tokenised]:
        """Train, and put model/, wandb/ and config.toml into the run's folder, so that no later fault loses them."""
        from raypipe.train import finetune

        config = self.config
        made_here = None if self.goes_on else self.folder if self.is_new else self.checkpoints
        with self.clock("tokenise"), undone(made_here):
            made = fitting.tokenise(config, base, data, self.token)
        name = os.path.basename(self.folder.rstrip("/"))
        job = fitting.job_of(config, workers, base, recipe, data, self.token, self.key, name)
        with self.clock("fit"):
            with undone(made_here):
                outcome, place = finetune.finetune(
                    job, made.train, made.validation, workers, self.checkpoints, config.max_failures
                )
            storage.remove(self.mark)  # it speaks of an older model from here on
            with storage.staged(self.folder, "config.toml", ["model", "wandb"]) as stage:
                storage.download(place, os.path.join(stage, "made"))
                for name in ("model", "wandb"):
                    os.makedirs(os.path.join(stage, "made", name), exist_ok=True)
                    os.replace(os.path.join(stage, "made", name), os.path.join(stage, name))
                again = "raypipe train --config THIS_FILE --output-dir NEW_FOLDER"
                toml = fitting.as_toml(config, base, data.source, again)
                storage.write_text(os.path.join(stage, "config.toml"), toml)
        return outcome, made

    def _push(self, model: str, target: str) -> str:
        return str(hub.push(model, target, "model", self.token, f"fine-tuned by raypipe {__version__}"))


def _evaluate_only(config: TrainConfig) -> StageResult:
    """--no-train and --examples: the model as it is, on the test split or a local file."""
    shared = {f.name: getattr(config, f.name) for f in dataclasses.fields(EvaluateConfig) if hasattr(config, f.name)}
    if config.examples:
        shared["input_hf_dataset"] = None
    else:
        shared |= {"input_dir": None, "filename": None}
    shared["output_classify_file"] = config.output_classify_file or storage.join(_folder(config), "predictions.jsonl")
    result = evaluating.evaluate(EvaluateConfig(model=config.model_for_training_finetune, **shared))
    return dataclasses.replace(result, command="train")


def _folder(config: TrainConfig) -> str:
    return storage.absolute(config.output_dir or os.path.join("runs", f"train-{provenance.stamp()}"))
