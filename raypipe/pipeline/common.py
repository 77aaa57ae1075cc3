"""What the verbs share: tokens, the clock, and the rule for outputs that exist already."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

from raypipe import storage, tokens
from raypipe.config import CommonConfig, require
from raypipe.errors import ConfigError


class Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = time.monotonic()

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[stage] = round(time.monotonic() - start, 3)

    def total(self) -> float:
        return round(time.monotonic() - self._start, 3)


def hf_token(config: Any) -> str | None:
    """The Hugging Face token of a configuration, its environment or the Hub's own store."""
    token = tokens.resolve(config.hf_access_token, "--hf-access-token", "HF_TOKEN", config.allow_literal_token)
    if token is None:
        from huggingface_hub import get_token

        token = get_token()
        tokens.remember(token or "")
    return token


def wandb_key(config: Any) -> str | None:
    """The Weights & Biases key of a configuration or its environment."""
    return tokens.resolve(
        config.wandb_access_token, "--wandb-access-token", "WANDB_API_KEY", config.allow_literal_token
    )


def with_endings(named: dict[str, dict[str, float | None]]) -> dict[str, float | None]:
    """Numbers with their intervals for the last line of standard output: NAME, NAME_low and NAME_high of each."""
    return {
        f"{name}{ending}": estimate[part]
        for name, estimate in named.items()
        for ending, part in (("", "value"), ("_low", "low"), ("_high", "high"))
    }


def finished_output(mark: str, config: CommonConfig, outputs: list[str]) -> dict[str, Any] | None:
    """The completion mark of an earlier run that --resume may keep, or None where there is work to do.

    An output that is gone is work to do.

    Raises ConfigError where a complete output stands in the way or was made with another configuration, or none can
    be written there.
    """
    storage.require_writable(storage.parent(mark))
    if not storage.exists(mark) or config.overwrite:
        return None
    if not config.resume:
        raise ConfigError(
            f"a complete output exists: {mark}", "a new place", "--overwrite to replace it, --resume to keep it"
        )
    finished = read_mark(mark)
    if finished.get("config_hash") != config.hash():
        raise ConfigError(
            f"--resume with another configuration than {mark} was made with",
            "the same flags",
            "--overwrite, or another output name",
        )
    return finished if all(storage.exists(output) for output in outputs) else None


def refuse_completed(mark: str, finished: dict[str, Any] | None) -> None:
    """Refuse to make anew what another run has ``finished`` while this one waited. Raises ConfigError."""
    require(finished is None, f"another run has completed {mark}", "one run at a time", "--resume keeps it now")


def read_mark(mark: str) -> dict[str, Any]:
    """The content of a completion mark. Raises ConfigError where it is torn."""
    try:
        return dict(json.loads(storage.read_text(mark)))
    except ValueError:
        raise ConfigError(f"{mark} is not the JSON that a run writes", "a whole file", "--overwrite") from None


def refuse_existing(*outputs: str) -> None:
    """Refuse to replace files that no earlier run is known to have made. Raises ConfigError."""
    for path in outputs:
        if storage.exists(path):
            raise ConfigError(f"the output exists: {path}", "a new place", "--overwrite to replace it")


def write_json(path: str, value: Any) -> None:
    """Write a JSON file whole, into a staging folder or over an older one."""
    storage.write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
