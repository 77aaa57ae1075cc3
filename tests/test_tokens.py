"""Where tokens come from, and that nothing shows one; errors between processes."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE_S

from raypipe import cli, tokens
from raypipe.errors import ConfigError, DataError, RaypipeError, StageError

TOKEN = "hf_abcdefghijklmnopqrstuvwxyz0123456789"
WANDB_OLD = "0123456789abcdef0123456789abcdef01234567"
WANDB_NEW = "wandb_v1_" + "AbCdEfGhIjK" * 7
FLAG, VARIABLE = "--hf-access-token", "HF_TOKEN"
OPAQUE = "Opaque-Secret.12345"  # like no token's shape


@pytest.fixture(autouse=True)
def _a_process_without_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_KNOWN", set())
    for name in (VARIABLE, "WANDB_API_KEY", "RAY_JOB_CONFIG_JSON_ENV_VAR"):
        monkeypatch.delenv(name, raising=False)


def resolve(value: str | None, allow_literal: bool = False) -> str | None:
    return tokens.resolve(value, FLAG, VARIABLE, allow_literal)


def shows(text: str, secret: str) -> bool:
    """Whether eight characters of the secret can be read, across the breaks of wrapped lines too."""
    squeezed = "".join(text.split())
    return any(secret[i : i + 8] in squeezed for i in range(len(secret) - 7))


def test_nothing_given_takes_the_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(None) is None
    monkeypatch.setenv(VARIABLE, OPAQUE)
    assert resolve(None) == OPAQUE
    monkeypatch.setenv(VARIABLE, "")
    assert resolve(None) is None


def test_a_named_variable(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MY_TOKEN", OPAQUE)
    monkeypatch.setenv(VARIABLE, "another")
    assert resolve("env:MY_TOKEN") == OPAQUE
    assert capsys.readouterr() == ("", "")


def test_the_line_break_of_a_secret_made_from_a_file_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MY_TOKEN", VARIABLE):
        monkeypatch.setenv(name, f"{OPAQUE}\n")
    assert resolve("env:MY_TOKEN") == resolve(None) == resolve(f" {OPAQUE}\n", allow_literal=True) == OPAQUE
    assert tokens.redact(f"Illegal header value {f'Bearer {OPAQUE}'.encode()!r}") == (
        "Illegal header value b'Bearer ***'"
    )
    monkeypatch.setenv("MY_TOKEN", "\n")
    with pytest.raises(ConfigError, match="env:MY_TOKEN: that variable is not set"):
        resolve("env:MY_TOKEN")


def test_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "token").write_text(f"{OPAQUE}\n")
    assert resolve(f"@{tmp_path / 'token'}") == OPAQUE
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("@~/token") == OPAQUE
    assert capsys.readouterr() == ("", "")


def test_references_that_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", "")
    for value in ("env:NOT_SET", "env:EMPTY", "env:", f"@{tmp_path}/none", f"@{tmp_path}", "@"):
        with pytest.raises(ConfigError) as caught:
            resolve(value)
        assert caught.value.args[0].startswith(f"{FLAG} {value}: ")
        assert "token" in caught.value.args[1]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00"], ids=["empty", "blank", "not_utf8"])
def test_a_file_without_a_token_leads_nowhere(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigError):
        resolve(f"@{tmp_path / 'token'}")


def test_a_literal_works_locally_with_a_warning_that_does_not_repeat_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert resolve(OPAQUE) == OPAQUE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("warning: --hf-access-token holds a literal token") and "env:HF_TOKEN" in err
    assert not shows(err, OPAQUE)


def test_a_literal_inside_a_ray_job_is_refused_unless_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not tokens.inside_ray_job()
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert tokens.inside_ray_job()
    with pytest.raises(ConfigError) as caught:
        resolve(OPAQUE)
    assert "inside a Ray job" in caught.value.args[0]
    assert "env:HF_TOKEN" in caught.value.args[2] and "--allow-literal-token" in caught.value.args[2]
    assert not shows(str(caught.value), OPAQUE)
    assert tokens.redact(OPAQUE) == "***"  # refused, but seen
    assert resolve(OPAQUE, allow_literal=True) == OPAQUE
    monkeypatch.setenv("MY_TOKEN", OPAQUE)
    assert resolve("env:MY_TOKEN") == OPAQUE


def test_redact_masks_what_was_resolved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert tokens.redact(f"a {OPAQUE} b") == f"a {OPAQUE} b"
    monkeypatch.setenv("MY_TOKEN", OPAQUE)
    resolve("env:MY_TOKEN")
    (tmp_path / "token").write_text("From-A-File.999")
    resolve(f"@{tmp_path / 'token'}")
    monkeypatch.setenv(VARIABLE, "From.The.Environment")
    resolve(None)
    masked = tokens.redact(f"a {OPAQUE}, 'From-A-File.999' https://u:From.The.Environment@host/x{OPAQUE}x")
    assert masked == "a ***, '***' https://u:***@host/x***x"


def test_redact_masks_the_longer_of_two_first_and_short_ones_as_words() -> None:
    tokens.remember("Longer.Secret", "Longer.Secret.Still", "", "T")
    assert tokens.redact("Longer.Secret.Still Longer.Secret T The") == "*** *** *** The"


@pytest.mark.parametrize("token", [TOKEN, "hf_AbCdEfGh", WANDB_NEW])
def test_redact_masks_the_shapes_of_tokens_never_seen(token: str) -> None:
    assert tokens.redact(f"Bearer {token}, and ({token})") == "Bearer ***, and (***)"
    assert tokens.redact("hf_hub_download of hf_short") == "hf_hub_download of hf_short"


@pytest.mark.parametrize("line", ["{} is no wandb key", "{}: invalid API key", "wandb: api_key {}", "WANDB_API_KEY={}"])
def test_redact_masks_a_classic_wandb_key_beside_its_name(line: str) -> None:
    assert tokens.redact(line.format(WANDB_OLD)) == line.format("***")


def test_redact_leaves_commits_and_texts_alone() -> None:
    assert tokens.redact(f"user/data@{WANDB_OLD} is resolved") == f"user/data@{WANDB_OLD} is resolved"


def test_a_secret_pickles_and_does_not_show() -> None:
    secret = tokens.Secret(OPAQUE)
    assert f"{secret} {secret!r} {[secret]} { ({'token': secret}) }" == "*** *** [***] {'token': ***}"
    assert pickle.loads(pickle.dumps(secret)).value == OPAQUE
    assert repr(tokens.Secret(None)) == "None"


@pytest.mark.parametrize("words", [["--hf-acess-token", TOKEN], [f"--hf_acess_token={TOKEN}"]])
def test_a_usage_error_of_the_command_line_exits_2_and_shows_no_token(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "raypipe.cli", "prepare", *words], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "acess" in done.stderr and "***" in done.stderr
    assert not shows(done.stderr, TOKEN)


@pytest.mark.parametrize("columns", ["40", "80", "200"])
@pytest.mark.parametrize(
    "form", ["--wandb-acess-token {}", "--api-key={}", "--hf-access-token {} --nonsense", "-ht {}"]
)
def test_no_usage_error_shows_a_token_however_it_is_wrapped(
    form: str, columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    leaked = []
    for secret in (OPAQUE, TOKEN, WANDB_OLD, WANDB_NEW, "x1-" * 50):
        with pytest.raises(SystemExit) as caught:
            cli.parse("prepare", form.format(secret).split())
        out, err = capsys.readouterr()
        assert caught.value.code == 2
        assert err and not out
        leaked += [f"a token of {len(secret)} characters"] * shows(err, secret)
    assert leaked == []


@pytest.mark.parametrize("kind", [RaypipeError, ConfigError, DataError, StageError])
@pytest.mark.parametrize("parts", [("got",), ("got", "this"), ("got", "this", "do that")])
def test_errors_survive_pickling(kind: type[RaypipeError], parts: tuple[str, ...]) -> None:
    error = kind(*parts)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.args, str(again), again.exit_code) == (error.args, str(error), error.exit_code)
    assert str(error) == ["got", "got; expected this", "got; expected this. Remedy: do that"][len(parts) - 1]


def test_exit_codes_of_the_contract() -> None:
    assert (ConfigError.exit_code, DataError.exit_code) == (2, 2)
    assert (StageError.exit_code, RaypipeError.exit_code) == (1, 1)
    assert all(issubclass(kind, RaypipeError) for kind in (ConfigError, DataError, StageError))


def test_a_short_token_leaves_other_words_alone() -> None:
    words = ["-i", "/tmp/Tx", "-f", "T.jsonl", "-o", "To/T.jsonl", "-t", "Title", "-s", "Topic"]
    config = cli.parse("prepare", [*words, "-ht", "T", "--token-pattern", "[A-Z]+"])
    assert (config.input_dir, config.input_filename, config.text) == ("/tmp/Tx", "T.jsonl", "Title")
    assert (config.hf_access_token, config.token_pattern) == ("T", "[A-Z]+")
    assert cli.parse("train", ["--input-hf-dataset", "me/hf_intents2024"]).input_hf_dataset == "me/hf_intents2024"
