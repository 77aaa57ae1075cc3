"""prepare's last step: the finished dataset to its target, in one commit that the report records."""

from typing import Any

from raypipe import __version__, hub, provenance, storage
from raypipe.config import PrepareConfig
from raypipe.errors import ConfigError, DataError
from raypipe.pipeline.common import write_json
from raypipe.runtime import say
from raypipe.schema import DATASET_FILES


def at_the_door(config: PrepareConfig, dataset: str, token: str | None) -> hub.Target | None:
    """The target of --target-hf-dataset, before work starts; ``dataset`` is the folder to be. Raises ConfigError."""
    may_replace = config.overwrite or config.resume
    target = hub.target_of(config.target_hf_dataset, "dataset", token, dataset, may_replace)
    if target is None:
        return None
    if target.state == "public" and not config.yes_publish:
        say(f"{target.name} is public: a row that looks like it holds private data will need --yes-publish")
    return target


def refuse_private_rows(report: dict[str, Any], target: hub.Target, yes_publish: bool) -> None:
    """Stop before rows that look private go to a public repository unconfirmed. Raises ConfigError."""
    counts = {kind: n for kind, n in report["looks_private"].items() if n}
    if target.state != "public" or yes_publish or not counts:
        return
    ids = [name for kind in counts for name in report["looks_private_examples"][kind]]
    raise ConfigError(
        f"rows that look like they hold private data ({', '.join(f'{kind}: {n:,}' for kind, n in counts.items())}; "
        f"such as {', '.join(dict.fromkeys(ids))}) on their way to the public dataset {target.name}",
        "a private repository, or rows without such data",
        "look at those rows: the local outputs are complete. --resume --yes-publish publishes them as they are",
    )


def publish(
    report: dict[str, Any], outputs: dict[str, str], target: hub.Target, yes_publish: bool, token: str | None
) -> str:
    """Push the dataset unless the report says that it is there already, and record the push in report and page.

    The report completes the output before the push, so a push that fails costs no work: --resume repeats it.
    Raises ConfigError for private rows, DataError where the files are no longer those of the report, StageError
    where the push fails.
    """
    target = hub.refreshed(target, "dataset", token)
    refuse_private_rows(report, target, yes_publish)
    _require_unchanged(report, outputs["dataset"])
    past = report["published"]
    if past and past["commit"] and past["target"] == target.name and target.state != "absent":
        say(f"{target.name} has this content already")
        return f"{past['target']}@{past['commit']}"
    message = f"{report['kept']} rows prepared by raypipe {__version__}"
    done = hub.push(outputs["dataset"], target.name, "dataset", token, message)
    report["published"] = {"target": done.target, "commit": done.commit, "url": done.url, "time": provenance.now()}
    _record(report, outputs)
    return str(done)


def _require_unchanged(report: dict[str, Any], dataset: str) -> None:
    for path, wanted in report["sha256"]["outputs"].items():
        name = path.rsplit("/", 1)[-1]
        if name in DATASET_FILES and storage.sha256(storage.join(dataset, name)) != wanted:
            raise DataError(
                f"{storage.join(dataset, name)} is not what the report says: it has been changed",
                "the files that prepare wrote",
                "--overwrite makes them again",
            )


def _record(report: dict[str, Any], outputs: dict[str, str]) -> None:
    """Write page and report anew, each in one move; the report last, since it is what --resume goes by."""
    from raypipe.report import pages

    storage.write_text(outputs["page"], pages.with_push(storage.read_text(outputs["page"]), report["published"]))
    write_json(outputs["report"], report)
