"""sweep: several trainings by Ray Tune, the best by the validation share, and a configuration for train."""

import dataclasses
import itertools
import os
from typing import Any

import numpy as np

from raypipe import __version__, hub, locks, provenance, splits, storage
from raypipe.config import SweepConfig
from raypipe.errors import ConfigError, StageError
from raypipe.hub import Source
from raypipe.pipeline import fitting
from raypipe.pipeline.common import Clock, finished_output, hf_token, refuse_completed, wandb_key, write_json
from raypipe.pipeline.kept import open_unfinished, undone
from raypipe.runtime import require_shared, say, session
from raypipe.schema import StageResult

FILES = {"page": "sweep.html", "best": "best.toml"}  # beside sweep.json, which completes them


def sweep(config: SweepConfig) -> StageResult:
    """Train with each choice, and write best.toml for ``raypipe train --config``. The test split is never read.

    Raises ConfigError or DataError before work starts, StageError where every trial failed.
    """
    config.validate()
    run = _Sweep(config, hf_token(config), wandb_key(config))
    finished = run.finished()
    if finished is not None:
        return run.again(finished)
    if config.dry_run:
        from raypipe.pipeline import dry_run

        return dry_run.answer("sweep", dry_run.estimate_sweep(config), config, run.clock.total())
    with session(config):
        return run.go()


class _Sweep:
    """One sweep: what it read, and the record of its trials."""

    def __init__(self, config: SweepConfig, token: str | None, key: str | None) -> None:
        self.config, self.token, self.key, self.clock = config, token, key, Clock()
        self.folder = storage.absolute(config.output_dir or os.path.join("runs", f"sweep-{provenance.stamp()}"))
        self.mark = storage.join(self.folder, "sweep.json")
        self.experiment = storage.join(self.folder, ".ray")  # from which --resume goes on
        self.is_new = True  # the folder is not there yet

    def finished(self) -> dict[str, Any] | None:
        """What --resume may keep of an earlier sweep. Raises ConfigError where one stands in the way."""
        return finished_output(self.mark, self.config, [storage.join(self.folder, name) for name in FILES.values()])

    def again(self, finished: dict[str, Any]) -> StageResult:
        """A finished sweep kept by --resume. Raises ConfigError for other data or base models."""
        plan = self._plan(bases_of(self.config, self.token), self._data())
        if finished["plan"] | {"raypipe": __version__} != plan:  # a finished sweep stays one under a later version
            raise ConfigError("--resume with changed data or base models", "those of the finished sweep", "--overwrite")
        return self._result(finished, "skipped")

    def go(self) -> StageResult:
        """All that can be refused before work, then the trials."""
        from raypipe.train import finetune

        workers = finetune.choose_workers(self.config)
        bases = bases_of(self.config, self.token)
        require_shared(self.folder, *(base.name for base in bases.values() if base.is_folder))
        data = self._data()
        splits.require_trainable(data)
        recipes = {name: fitting.recipe_of(self.config, base, self.token)[0] for name, base in bases.items()}
        self.is_new = not storage.exists(self.folder)
        with locks.locked(self.experiment):
            refuse_completed(self.mark, self.finished())  # asked again: another run may have ended meanwhile
            return self._result(self._tried(workers, bases, recipes, data, self._plan(bases, data)), "done")

    def _data(self) -> splits.Splits:
        config = self.config
        return splits.load(str(config.input_hf_dataset), config.text, config.subject_column, self.token)

    def _tried(
        self, workers: Any, bases: dict[str, Source], recipes: dict[str, Any], data: splits.Splits, plan: dict[str, Any]
    ) -> dict[str, Any]:
        """Run the trials; returns what sweep.json holds."""
        from raypipe.report import console
        from raypipe.train import sweep as tuning

        config = self.config
        choices = choices_of(config, {name: recipe.epochs for name, recipe in recipes.items()}, workers.use_gpu)
        goes_on = open_unfinished(self.experiment, plan, config.resume, self.folder)
        at_once, workers = tuning.share_out(workers, len(choices), config.most_at_once())
        say(f"{len(choices)} trials, {at_once} at a time; CPUs of a worker: {workers.cpus_each:.0f}")
        made_here = None if goes_on else self.folder if self.is_new else self.experiment
        with self.clock("tokenise"), undone(made_here):
            made = {name: fitting.tokenise(config, base, data, self.token) for name, base in bases.items()}
        storage.remove(self.mark)  # it speaks of an older sweep from here on
        plans = []
        for choice in choices:
            job = self._job(choice, workers, bases[choice.model], recipes[choice.model], data)
            plans.append(tuning.TrialPlan(choice, job, made[choice.model].train, made[choice.model].validation))
        budget_s = None if config.time_budget_minutes is None else 60 * config.time_budget_minutes
        with self.clock("trials"):
            trials = tuning.sweep(plans, workers, at_once, config.scheduler == "asha", budget_s, self.experiment)
        best = _best_of(trials)
        record = {
            "best": best.public(),
            "trials": [trial.public() for trial in sorted(trials, key=lambda trial: trial.choice.number)],
            "plan": plan,
            "rows": made[best.choice.model].rows,
            "at_once": at_once,
            "workers": dataclasses.asdict(workers),
            "config": config.public(),
            "config_hash": config.hash(),
            "seconds": self.clock.seconds,
            **provenance.record(),
        }
        self._write(record, best.choice, bases[best.choice.model], data.source)
        console.sweep_table(record)
        return record

    def _write(self, record: dict[str, Any], best: Any, base: Source, data: Source) -> None:
        from raypipe.report import pages

        again = f"raypipe train --config THIS_FILE --output-dir NEW_FOLDER    # trial {best.number} of a sweep"
        with storage.staged(self.folder, "sweep.json", list(FILES.values())) as stage:
            toml = fitting.as_toml(with_choice(self.config, best), base, data, again)
            storage.write_text(os.path.join(stage, FILES["best"]), toml)
            storage.write_text(os.path.join(stage, FILES["page"]), pages.sweep_page(record))
            write_json(os.path.join(stage, "sweep.json"), record)

    def _job(self, choice: Any, workers: Any, base: Source, recipe: Any, data: splits.Splits) -> Any:
        """What the workers of a trial are told."""
        name = os.path.basename(self.folder.rstrip("/"))
        recipe = dataclasses.replace(recipe, learning_rate=choice.learning_rate, epochs=choice.epochs)
        return fitting.job_of(
            with_choice(self.config, choice),
            workers,
            base,
            recipe,
            data,
            self.token,
            self.key,
            f"{name}-{choice.number}",
            run_group=name,
            evaluations_per_epoch=self.config.evaluations_per_epoch,
        )

    def _plan(self, bases: dict[str, Source], data: splits.Splits) -> dict[str, Any]:
        """What decides the trials: a finished or killed sweep of another plan is not gone on with."""
        models = {name: hub.fingerprint(base) for name, base in bases.items()}
        return {
            "config_hash": self.config.hash(),
            "dataset": data.fingerprint(),
            "models": models,
            "raypipe": __version__,
        }

    def _result(self, record: dict[str, Any], status: str) -> StageResult:
        outputs = {"run": self.folder, "sweep": self.mark}
        outputs |= {kind: storage.join(self.folder, name) for kind, name in FILES.items()}
        counts = {"trials": len(record["trials"])}
        for trial in record["trials"]:
            counts[trial["status"]] = counts.get(trial["status"], 0) + 1
        best = record["best"]
        metrics = {name: best[name] for name in ("number", "learning_rate", "epochs", "token_budget")}
        scores = {name: value for name, value in best["best"].items() if name.startswith("macro_f1")}
        seconds = self.clock.total() if status == "done" else 0.0
        return StageResult("sweep", self.config.hash(), status, outputs, counts, metrics | scores, seconds)


def bases_of(config: SweepConfig, token: str | None) -> dict[str, Source]:
    """The base models to try, found by their names. Raises ConfigError."""
    names = config.try_models or (config.model_for_training_finetune,)
    return {name: hub.resolve(name, "model", token) for name in names}


def choices_of(config: SweepConfig, epochs: dict[str, float], use_gpu: bool) -> list[Any]:
    """All combinations that the flags ask for, numbered from 1, in a seeded order: asha favours whoever comes first.

    ``epochs`` is what the recipe gives to each base model where --try-epochs names none.
    """
    from raypipe.train.sweep import Choice

    rng = np.random.default_rng(config.seed)
    rates = config.learning_rates
    if config.learning_rate_range is not None:
        low, high = np.log(config.learning_rate_range)
        rates = tuple(float(f"{rate:.3g}") for rate in np.sort(np.exp(rng.uniform(low, high, config.num_samples))))
    budgets = config.try_token_budgets or (fitting.token_budget(config, use_gpu),)
    made = [
        (model, rate, passes, budget)
        for model in epochs
        for rate, passes, budget in itertools.product(rates, config.try_epochs or (epochs[model],), budgets)
    ]
    numbered = [Choice(number, *choice) for number, choice in enumerate(dict.fromkeys(made), start=1)]
    return [numbered[place] for place in rng.permutation(len(numbered))]


def with_choice(config: SweepConfig, choice: Any) -> SweepConfig:
    """The configuration as train would have it for a choice."""
    return dataclasses.replace(
        config,
        model_for_training_finetune=choice.model,
        learning_rate=choice.learning_rate,
        epochs=choice.epochs,
        token_budget=choice.token_budget,
    )


def _best_of(trials: list[Any]) -> Any:
    """The trial of the highest macro-F1 on validation, the first number of equals.

    Raises StageError where none is, ConfigError where the flags alone are at fault.
    """
    scored = [trial for trial in trials if trial.best is not None and trial.status != "failed"]
    if not scored:
        failed = [trial for trial in trials if trial.reason]
        reasons = {str(trial.reason).splitlines()[0] for trial in failed}
        kind = ConfigError if failed and all(trial.is_refused for trial in failed) else StageError
        raise kind(f"no trial of {len(trials)} has a score ({'; '.join(sorted(reasons))})", "one that trains")
    return max(scored, key=lambda trial: (trial.best["macro_f1"], -trial.choice.number))
