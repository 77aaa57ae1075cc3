"""Access tokens: where they come from, and how they stay out of everything that is written."""

import os
import re
import sys
from pathlib import Path

from raypipe.errors import ConfigError

_KNOWN: set[str] = set()  # every secret that this process has seen, for redact()
_TOKEN_SHAPES = re.compile(r"\bhf_[A-Za-z0-9]{8,}|hf_[A-Za-z0-9]{30,}|\bwandb_v1_\w{16,}")
# A classic W&B key has the shape of a commit; what tells them apart is the name before or after it.
_HEX_KEY = re.compile(r"(?i)((?:wandb|key)\w*\W{1,5})[0-9a-f]{40}\b|\b[0-9a-f]{40}\b(?=.{0,20}?(?:wandb|key))")


def inside_ray_job() -> bool:
    """Whether this process is the entry point of a submitted Ray job."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def resolve(value: str | None, flag: str, environment: str, allow_literal: bool) -> str | None:
    """Turn ``env:NAME``, ``@FILE``, a literal or nothing into a token, or None where there is none.

    Raises ConfigError where the reference leads nowhere, or for a literal inside a Ray job, whose entry point
    the cluster keeps in readable metadata.
    """
    if value is None:
        token = _of_environment(environment)
    elif value.startswith("env:"):
        token = _of_environment(value[4:])
        if not token:
            raise ConfigError(f"{flag} {value}: that variable is not set", "a variable that holds the token")
    elif value.startswith("@"):
        try:
            token = Path(value[1:]).expanduser().read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise ConfigError(f"{flag} {value}: {reason}", "a readable file with the token") from None
        if not token:
            raise ConfigError(f"{flag} {value}: that file is empty", "a file that holds the token")
    else:
        _KNOWN.add(value)
        if inside_ray_job() and not allow_literal:
            raise ConfigError(
                f"{flag} with a literal token inside a Ray job, which stores its command line readably",
                "env:NAME, @FILE or the environment variable " + environment,
                f"{flag} env:{environment}, or --allow-literal-token to accept the risk",
            )
        if not allow_literal:
            print(
                f"warning: {flag} holds a literal token, which other users of this machine can see in the "
                f"process list; prefer {flag} env:{environment}",
                file=sys.stderr,
            )
        token = value.strip()
    if token:
        _KNOWN.add(token)
    return token or None


def _of_environment(name: str) -> str:
    """The variable without the line break that secrets made from files end in: in a header it would be refused."""
    return os.environ.get(name, "").strip()


def remember(*secrets: str) -> None:
    """Have redact() mask these strings too."""
    _KNOWN.update(s for s in secrets if s)


def redact(text: str) -> str:
    """The text with every known secret, and everything that looks like a token, replaced by ``***``."""
    for known in sorted(_KNOWN, key=len, reverse=True):
        # A short literal (a test's "T") is masked only as a whole word, or messages would lose their letters.
        text = text.replace(known, "***") if len(known) >= 8 else re.sub(rf"\b{re.escape(known)}\b", "***", text)
    return _HEX_KEY.sub(lambda found: (found[1] or "") + "***", _TOKEN_SHAPES.sub("***", text))


class Secret:
    """A token on its way to a worker: it pickles, and shows itself as ``***`` wherever it is printed or recorded."""

    def __init__(self, value: str | None) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "***" if self.value else "None"
