"""The command line: one command for each configuration, its flags made from the dataclass.

The last line of standard output is one JSON object; everything else goes to standard error.
"""

import contextlib
import dataclasses
import errno
import importlib
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import IO, Any, NamedTuple, NoReturn

from raypipe import __version__
from raypipe.errors import ConfigError, RaypipeError, StageError


class Command(NamedTuple):
    """Where a command's configuration and its verb live; its table in a TOML file has its name."""

    config: str
    verb: str  # module:function
    summary: str


COMMANDS = {
    "prepare": Command("PrepareConfig", "raypipe.pipeline:prepare", "clean, balance and split raw text"),
    "train": Command("TrainConfig", "raypipe.pipeline:train", "fine-tune a model, then evaluate it"),
    "evaluate": Command("EvaluateConfig", "raypipe.pipeline:evaluate", "score a model on labelled text"),
    "sweep": Command("SweepConfig", "raypipe.pipeline:sweep", "find the learning rate on a validation share"),
    "run": Command("RunConfig", "raypipe.pipeline:run", "prepare, train and evaluate from one TOML file"),
    "predict": Command("PredictConfig", "raypipe.pipeline:predict", "label new text"),
    "audit": Command("AuditConfig", "raypipe.pipeline:audit", "list rows whose label is suspect"),
    "demo": Command("DemoConfig", "raypipe.demo:demo", "the whole road, offline on the CPU"),
    "doctor": Command("DoctorConfig", "raypipe.doctor:doctor", "what this machine can do, and what is missing"),
}

_FULL = (errno.ENOSPC, errno.EDQUOT)


def main(argv: Sequence[str] | None = None, command: str | None = None) -> NoReturn:
    """Run one command and exit: 0 done, 2 input or configuration at fault, 1 anything else.

    ``command`` is given by jobs/NAME.py, which takes the flags alone.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if command is None:
        command = _command_of(words)
        words = words[1:]
    with _claimed_stdout() as answer:
        try:
            from raypipe import tokens

            code = _run(command, words, answer)
        except KeyboardInterrupt:
            print(f"raypipe {command}: interrupted; --resume goes on where it can", file=sys.stderr)
            code = 128 + signal.SIGINT
        except BrokenPipeError:
            print(f"raypipe {command}: nobody reads the output any more", file=sys.stderr)
            code = 1
        except Exception as error:
            known = _explained(error)
            text = f"raypipe {command}: {known}" if known else traceback.format_exc()
            print(tokens.redact(text), file=sys.stderr)
            code = known.exit_code if known else 1
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)


def _run(name: str, words: list[str], answer: IO[str]) -> int:
    config = parse(name, words, answer)
    module, function = COMMANDS[name].verb.split(":")
    verb = getattr(importlib.import_module(module), function)
    if name == "predict" and config.output is None:
        result = verb(config, rows_to=answer)
        print(json.dumps(result.to_json()), file=sys.stderr)
    else:
        result = verb(config)
        print(json.dumps(result.to_json()), file=answer)
    with contextlib.suppress(BrokenPipeError):  # whoever reads has seen enough
        answer.flush()
    for kind in ("report", "page"):
        if str(path := result.outputs.get(kind, "")).endswith(".html"):
            print(f"raypipe: to look at: {path}", file=sys.stderr)
    return 0


def parse(name: str, words: Sequence[str], help_to: IO[str] | None = None) -> Any:
    """The command's configuration from flags over the TOML table over defaults.

    Raises ConfigError; exits with 0 after --help (written to ``help_to``) and with 2 on a usage error, in whose
    message no token is repeated.
    """
    import tyro

    from raypipe import config as configs
    from raypipe import tokens
    from raypipe.toml import defaults_of

    kind = getattr(configs, COMMANDS[name].config)
    default = defaults_of(kind, _value_of("--config", words), name)
    # A usage error repeats words, and wraps them: so the parser sees a stand-in for each token.
    shown, stand_ins = _with_stand_ins(words, kind)
    tokens.remember(*stand_ins.values())
    captured = io.StringIO()
    try:
        with contextlib.redirect_stdout(help_to or sys.stdout), contextlib.redirect_stderr(captured):
            config = tyro.cli(kind, prog=f"raypipe {name}", args=shown, default=default)
    except SystemExit:
        sys.stderr.write(tokens.redact(captured.getvalue()))
        raise
    words_of = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    restored = {n: stand_ins[v] for n, v in words_of.items() if isinstance(v, str) and v in stand_ins}
    config = dataclasses.replace(config, **restored)
    config.validate()
    return config


def _command_of(words: list[str]) -> str:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        sys.exit(0 if words else 2)
    if words[0] in ("-V", "--version"):
        print(f"raypipe {__version__}")
        sys.exit(0)
    if words[0] not in COMMANDS:
        import difflib

        close = difflib.get_close_matches(words[0], COMMANDS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "see raypipe --help"
        print(ConfigError(f"raypipe: no command {words[0]!r}", ", ".join(COMMANDS), hint), file=sys.stderr)
        sys.exit(2)
    return words[0]


def _overview() -> str:
    lines = [f"  {name:10}{command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            f"raypipe {__version__}: raw labelled JSONL to a published, evaluated text classifier, on Ray",
            "",
            "usage: raypipe COMMAND [flags]      (raypipe COMMAND --help for its flags)",
            "",
            *lines,
        ]
    )


def _value_of(flag: str, words: Sequence[str]) -> str | None:
    """The flag's last value, as the parser takes it."""
    value = None
    for place, word in enumerate(words):
        if word == flag and place + 1 < len(words):
            value = words[place + 1]
        elif word.startswith(flag + "="):
            value = word[len(flag) + 1 :]
    return value


def _with_stand_ins(words: Sequence[str], kind: type) -> tuple[list[str], dict[str, str]]:
    """The words with a stand-in for what follows a token's flag, however it is spelled, and what each stands for."""
    shown = list(words)
    names = [f.name.replace("_", "-") for f in dataclasses.fields(kind) if not f.metadata.get("secret")]
    harmless = {f"--{no}{name}" for name in names for no in ("", "no-")}  # --token-budget only sounds like a token
    stand_ins: dict[str, str] = {}
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        named = flag.startswith("--") and any(part in flag for part in ("token", "key", "acess", "access"))
        if not (named or flag == "-ht") or flag.replace("_", "-") in harmless:
            continue
        where, secret = (place, value) if equals else (place + 1, words[place + 1] if place + 1 < len(words) else "")
        if secret and not secret.startswith(("-", "env:", "@")):
            stand_in = f"***{len(stand_ins)}"
            stand_ins[stand_in] = secret
            shown[where] = f"{flag}={stand_in}" if equals else stand_in
    return shown, stand_ins


def _explained(error: BaseException) -> RaypipeError | None:
    """What has a message of its own, out of the wrappers of Ray: a RaypipeError, or memory or a disk that is full."""
    pending: list[BaseException] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, RaypipeError) and not hasattr(current, "cause"):
            return current
        if isinstance(current, OSError) and current.errno in _FULL:
            place = f" for {current.filename}" if current.filename else ""
            return StageError(f"no space left on the device{place}", "more", "free some, and repeat with --resume")
        if type(current).__name__ == "OutOfMemoryError" and type(current).__module__ == "ray.exceptions":
            return StageError(
                "a machine's memory was full at every try", "more", "fewer CPUs, and repeat with --resume"
            )
        pending += _wrapped_in(current)
    return None


def _wrapped_in(error: BaseException) -> list[BaseException]:
    """What Ray's errors of tasks (cause) and of trainings (worker_failures, _base_exc) carry, and Python's."""
    found = [getattr(error, "cause", None), error.__cause__, getattr(error, "_base_exc", None)]
    return [e for e in (*found, *getattr(error, "worker_failures", {}).values()) if isinstance(e, BaseException)]


@contextlib.contextmanager
def _claimed_stdout() -> Any:
    """Standard output for the answer alone: whatever else is printed, by workers too, goes to standard error."""
    sys.stdout.flush()
    answer = os.fdopen(os.dup(1), "w", encoding="utf8")
    os.dup2(2, 1)
    kept, sys.stdout = sys.stdout, sys.stderr
    try:
        yield answer
    finally:
        sys.stderr.flush()
        os.dup2(answer.fileno(), 1)
        sys.stdout = kept
        with contextlib.suppress(OSError):  # whoever reads has seen enough, or had no room for more: _run has said so
            answer.close()


if __name__ == "__main__":
    main()
