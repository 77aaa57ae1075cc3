"""The documentation: its commands parse, its links lead somewhere, the first half of its tutorial runs as printed."""

import ast
import dataclasses
import itertools
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import PATIENCE_S

from raypipe import cli, config, pipeline

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "cluster/README.md", *sorted(ROOT.glob("docs/*.md"))]
TUTORIAL = ROOT / "docs/tutorial.md"
ELISION = "…"  # stands for flags or places of the reader's own


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language; "" are those without one."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf8"), re.MULTILINE | re.DOTALL)
    return [block for kind, block in found if kind == language]


def commands(page: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The raypipe commands of a page: the name of each, and its words."""
    for block in blocks(page, "bash") + blocks(page, ""):
        for line in block.replace("\\\n", " ").splitlines():
            if re.search(r"(^|\| |-- |\$ )(raypipe|python jobs/)", line):
                yield from _commands_of(line)


def _commands_of(line: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    for is_operator, group in itertools.groupby(lexer, key=lambda word: set(word) <= set("|;&()<>")):
        words = tuple(group)
        if is_operator:
            continue
        job = next((place for place, word in enumerate(words) if re.fullmatch(r"jobs/\w+\.py", word)), None)
        if job is not None:
            yield Path(words[job]).stem, words[job + 1 :]
        elif words[0] == "raypipe" and words[1:] and words[1] in cli.COMMANDS:
            yield words[1], words[2:]


COMMANDS = [
    pytest.param(name, words, id=f"{page.name}-{number}-{name}")
    for page in PAGES
    for number, (name, words) in enumerate(commands(page))
]


def test_the_commands_are_found() -> None:
    assert len(COMMANDS) >= 30
    assert {"prepare", "train", "sweep", "evaluate", "predict", "audit", "run", "doctor"} == {
        case.values[0] for case in COMMANDS
    }


@pytest.mark.parametrize(("name", "words"), COMMANDS)
def test_a_command_parses(name: str, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all of its flags; where some are left out, those that are named exist."""
    (tmp_path / "jobs").symlink_to(ROOT / "jobs")
    (tmp_path / "tickets.toml").write_text(blocks(TUTORIAL, "toml")[0], encoding="utf8")
    for train in ("runs/sweep/best.toml", "runs/first/config.toml"):
        (tmp_path / train).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / train).write_text('[train]\ninput_hf_dataset = "set"\n', encoding="utf8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_documentation")
    if ELISION in words:
        known = flags_of(name)
        assert [word for word in words if re.match(r"-{1,2}[a-z]", word) and word.split("=")[0] not in known] == []
    else:
        assert type(cli.parse(name, list(words))).__name__ == cli.COMMANDS[name].config


def flags_of(name: str) -> set[str]:
    """The flags that --help names."""
    done = subprocess.run([sys.executable, "-m", "raypipe.cli", name, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", done.stdout))


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs/python.md"], ids=lambda page: page.name)
def test_python_names_what_is_there(page: Path) -> None:
    """Verbs, configurations and their fields."""
    calls = [
        node for block in blocks(page, "python") for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)
    ]
    verbs = [call.func.attr for call in calls if isinstance(call.func, ast.Attribute)]
    assert verbs
    assert [verb for verb in verbs if not hasattr(pipeline, verb)] == []
    for call in calls:
        if isinstance(call.func, ast.Name) and call.func.id.endswith("Config"):
            fields = {field.name for field in dataclasses.fields(getattr(config, call.func.id))}
            assert {word.arg for word in call.keywords} - {None} <= fields


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf8"), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if "://" in link or link.startswith("mailto:"):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_the_first_half_of_the_tutorial(tmp_path: Path) -> None:
    """The messy file, the refusal, the ledger: what the page prints is what happens."""
    text = TUTORIAL.read_text(encoding="utf8")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/tickets.jsonl").write_text(blocks(TUTORIAL, "json")[0], encoding="utf8")
    refused, prepared = (
        shlex.split(block.replace("\\\n", " "))[1:] for block in blocks(TUTORIAL, "bash") if "-i raw" in block
    )

    def raypipe(words: list[str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "raypipe.cli", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S)

    done = raypipe(refused)
    assert (done.returncode, done.stdout) == (2, "")
    said = next(block for block in blocks(TUTORIAL, "") if block.startswith("raypipe prepare:"))
    assert " ".join(said.split()) in " ".join(done.stderr.split())
    assert not (tmp_path / "clean").exists()

    done = raypipe(prepared)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])["counts"]
    assert "Five of the twelve rows are kept" in text and (counts["rows_in"], counts["kept"]) == (12, 5)
    removed = [json.loads(line) for line in (tmp_path / "clean/tickets_removed.jsonl").read_text().splitlines()]
    assert "seven rows with seven reasons" in text and len({row["reason"] for row in removed}) == len(removed) == 7

    (script,) = blocks(TUTORIAL, "python")
    shown = next(block for block in blocks(TUTORIAL, "") if "label_conflict\n   stays" in block)
    ledger = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert ledger.stdout == shown
