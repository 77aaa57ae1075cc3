"""Datasets and models by name: a Hub repository or a folder; resolved to a commit, pushed in one commit."""

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from raypipe import storage
from raypipe.errors import ConfigError, StageError
from raypipe.tokens import redact

Kind = Literal["dataset", "model"]
State = Literal["folder", "absent", "private", "public"]
_REPOSITORY = re.compile(r"^(?:[\w][\w.-]*/)?[\w][\w.-]*$")
_TRIES, _FIRST_WAIT_S = 5, 1.0
T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """Where a dataset or model comes from: ``name`` is a folder, or a repository at the commit ``revision``."""

    name: str
    revision: str | None = None

    @property
    def is_folder(self) -> bool:
        return self.revision is None

    def __str__(self) -> str:
        return self.name if self.is_folder else f"{self.name}@{self.revision}"


@dataclass(frozen=True)
class Target:
    """Where a push goes: a folder's path, or the full name of a repository and who sees it now."""

    name: str
    state: State


@dataclass(frozen=True)
class Push:
    """A push that was done; ``commit`` is None for a folder."""

    target: str
    commit: str | None
    url: str

    def __str__(self) -> str:
        return self.target if self.commit is None else f"{self.target}@{self.commit}"


def is_repository(name: str) -> bool:
    """Whether a name means a Hub repository: user/name (or a bare name), and no such path exists here."""
    return bool(_REPOSITORY.match(name.split("@")[0])) and not storage.is_uri(name) and not os.path.exists(name)


def resolve(name: str, kind: Kind, token: str | None) -> Source:
    """Find a folder or repository, the latter with its present commit. Raises ConfigError where there is none."""
    if storage.is_uri(name) or not is_repository(name):
        path = storage.absolute(name)
        storage.require_reachable(path)
        if not storage.exists(path):
            raise ConfigError(f"no {kind} folder {name}", f"a folder or a Hub repository such as user/{kind}")
        return Source(path)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, RepositoryNotFoundError
    from huggingface_hub.errors import RevisionNotFoundError as NoRevision

    repository, _, revision = name.partition("@")
    try:
        info = HfApi(token=token).repo_info(repository, repo_type=kind, revision=revision or None)
    except NoRevision:
        raise ConfigError(f"the {kind} {repository} has no revision {revision!r}", "a branch, tag or commit") from None
    except RepositoryNotFoundError:
        raise ConfigError(
            f"no {kind} {repository!r}: neither a folder nor a repository on the Hub that this token sees",
            f"an existing {kind}",
            "check the name, and HF_TOKEN for a private one",
        ) from None
    except (HfHubHTTPError, OfflineModeIsEnabled, *_unreachable()) as error:
        raise _unanswered(kind, repository, error) from None
    except HFValidationError as error:
        raise _no_name(kind, repository, error) from None
    return Source(repository, info.sha)


def _unanswered(kind: Kind, repository: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"the Hub does not answer for the {kind} {repository}: {redact(first_line(error))}",
        "a reachable Hub or a local folder",
        "check the network and HF_ENDPOINT",
    )


def _no_name(kind: Kind, repository: str, error: Exception) -> ConfigError:
    return ConfigError(f"{repository!r} as a {kind}: {first_line(error)}", "a folder or a repository (user/name)")


def card(source: Source, kind: Kind, token: str | None) -> str:
    """README.md of a dataset or model; empty where there is none."""
    if source.is_folder:
        path = storage.join(source.name, "README.md")
        return storage.read_text(path) if storage.exists(path) else ""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    try:
        path = hf_hub_download(source.name, "README.md", repo_type=kind, revision=source.revision, token=token)
    except RemoteEntryNotFoundError:
        return ""
    except LocalEntryNotFoundError as error:  # a fault of the network must not read as a card that says nothing
        raise _unanswered(kind, source.name, error) from None
    return storage.read_text(path)


def files(model: Source, token: str | None) -> list[str]:
    """The names of a model's files, without those in folders below it."""
    if model.is_folder:
        return storage.match(model.name, "*")
    from huggingface_hub import HfApi

    names = HfApi(token=token).list_repo_files(model.name, revision=model.revision)
    return [name for name in names if "/" not in name]


def license_of(card: str) -> str | None:
    """The licence that the YAML of a card names; None where it names none."""
    front = re.match(r"\s*---\s*\n(.*?)\n---", card, re.DOTALL)
    found = front and re.search(r"^license:\s*(?:- *)?[\"']?([\w.+-]+)", front[1], re.MULTILINE)
    return found[1] if found else None


def fingerprint(source: Source) -> str:
    """What tells one content of a source from another: the commit, or a hash over a folder's model files."""
    if source.revision is not None:
        return source.revision
    digest = hashlib.sha256()
    for name in storage.match(source.name, "*"):
        if name.endswith((".json", ".safetensors", ".txt", ".model")):
            digest.update(f"{name} {storage.sha256(storage.join(source.name, name))}\n".encode())
    return digest.hexdigest()


def target_of(name: str | None, kind: Kind, token: str | None, output: str, may_replace: bool = False) -> Target | None:
    """Where a push to this name goes; what cannot work is refused at the door. Raises ConfigError.

    ``output`` is the folder that the command is going to write. Only with ``may_replace`` a folder that holds
    something can be the target: its files of the same names are replaced.
    """
    if name is None:
        return None
    if not is_repository(name):
        place = storage.absolute(name)
        if f"{place}/".startswith(f"{output}/"):
            raise ConfigError(
                f"the target {place} is the output itself, or in it", "another folder", "name another one"
            )
        storage.require_writable(place)
        if not may_replace and storage.names_in(place):
            raise ConfigError(
                f"the target {place} is a folder that holds something",
                "a new or empty folder",
                "another one, or --overwrite to replace its files of the same names",
            )
        return Target(place, "folder")
    if "@" in name:
        raise ConfigError(f"a push to {name}", "a repository without a revision")
    if f"{output}/".startswith(f"{storage.absolute(name)}/"):  # it would be a folder's name by the time of the push
        raise ConfigError(f"{name} as a repository and as a folder of the output", "two names", "another output folder")
    if not token:
        raise ConfigError(
            f"a push to the {kind} repository {name} without a token",
            "a Hugging Face token",
            "set HF_TOKEN, log in with `hf auth login`, or name a folder",
        )
    account, full, state = _look(name, kind, token)
    if account.get("auth", {}).get("accessToken", {}).get("role") == "read":  # other roles show at the push
        raise ConfigError(f"a push to {full} with a token that only reads", "a token with write access")
    return Target(full, state)


def _look(name: str, kind: Kind, token: str) -> tuple[dict[str, Any], str, State]:
    """The account of a token, a repository's name with its owner, and its state. Raises ConfigError."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi(token=token)
    try:
        account = api.whoami()
        full = name if "/" in name else f"{account['name']}/{name}"
        return account, full, _state(api, full, kind)
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise ConfigError(
                "the Hub does not know this token",
                "a valid Hugging Face token",
                "create one with write access under Settings, Access Tokens",
            ) from None
        raise ConfigError(f"the Hub answers {status} to a look at {name}", "a working Hub", "try later") from None
    except HFValidationError as error:
        raise _no_name(kind, name, error) from None
    except _unreachable() as error:
        raise ConfigError(
            f"the Hub cannot be reached: {redact(first_line(error))}",
            "a reachable Hub",
            "check the network and HF_ENDPOINT, or name a folder as the target",
        ) from None


def refreshed(target: Target, kind: Kind, token: str | None) -> Target:
    """The target as it is now: hours may lie between the door and the push. Raises StageError."""
    if target.state == "folder":
        return target
    from huggingface_hub import HfApi

    return Target(target.name, _retried(lambda: _state(HfApi(token=token), target.name, kind), target.name))


def push(folder: str, target: str, kind: Kind, token: str | None, message: str) -> Push:
    """Send a folder's files to a repository in one commit (created private if new), or copy them to a folder.

    ``folder`` may be an address; its files then pass through a temporary folder. Files that the repository has
    already are not sent again; where it has all of them, its present commit is the answer.
    Tries again on transient errors; raises StageError.
    """
    if storage.is_uri(folder):
        with tempfile.TemporaryDirectory() as local:
            storage.download(folder, local)
            return push(local, target, kind, token, message)
    if not storage.names_in(folder):
        raise StageError(f"nothing to push in {folder}", "the files that the command made")
    if not is_repository(target):
        path = storage.absolute(target)
        storage.upload(folder, path)
        return Push(path, None, path)
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(token=token)
    created = _retried(lambda: api.create_repo(target, repo_type=kind, private=True, exist_ok=True), target)
    files = sorted(p for p in Path(folder).rglob("*") if p.is_file())

    def commit() -> Any:  # operations remember that they were uploaded, so each try needs fresh ones
        operations = [CommitOperationAdd(p.relative_to(folder).as_posix(), p) for p in files]
        return api.create_commit(created.repo_id, operations, commit_message=message, repo_type=kind)

    done = _retried(commit, target)
    return Push(created.repo_id, done.oid, str(done.commit_url))


def _state(api: Any, repository: str, kind: Kind) -> State:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        return "private" if api.repo_info(repository, repo_type=kind).private else "public"
    except GatedRepoError:  # everybody sees that it is there, and many may read it
        return "public"
    except RepositoryNotFoundError:
        return "absent"


def _retried(call: Callable[[], T], target: str) -> T:
    from huggingface_hub.errors import HfHubHTTPError

    for attempt in range(_TRIES):
        try:
            return call()
        except (HfHubHTTPError, RuntimeError, *_unreachable()) as error:
            # The client says RuntimeError of a large file that did not arrive; what happened is its cause.
            fault = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
            status = getattr(getattr(fault, "response", None), "status_code", None)
            transient = status is None or status in (408, 409, 412, 429) or status >= 500
            if not transient or attempt == _TRIES - 1:
                raise StageError(
                    f"the push to {target} failed: {redact(first_line(fault))}",
                    "a Hub that accepts it",
                    "the local outputs are complete; repeat with --resume",
                ) from None
            time.sleep(_FIRST_WAIT_S * 2**attempt)
    raise AssertionError("unreachable")


def _unreachable() -> tuple[type[Exception], ...]:
    """What the Hub's client raises where no answer comes; its HTTP library has changed its name between versions."""
    import huggingface_hub.utils

    http = getattr(huggingface_hub.utils, "_http", None)
    library: Any = getattr(http, "httpx2", None) or getattr(http, "httpx", None)
    return (OSError, library.TransportError) if library is not None else (OSError,)


def first_line(error: BaseException) -> str:
    """Of its message; its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
