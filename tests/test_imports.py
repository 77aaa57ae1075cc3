"""Importing does nothing, the wings of the house stay apart, and what is not built yet is refused by name."""

import ast
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE_S

from raypipe import cli

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("raypipe/**/*.py"), *ROOT.glob("jobs/**/*.py")])
HEAVY = ("ray", "torch", "transformers", "datasets", "wandb", "huggingface_hub")

# What each part of the house may import of raypipe, as prefixes; a part may always import itself.
GROUND = ("raypipe.errors", "raypipe.schema")
MAY_IMPORT = {
    "raypipe.errors": (),
    "raypipe.schema": (),
    "raypipe.core": (),
    "raypipe.config": GROUND,
    "raypipe.storage": GROUND,
    "raypipe.locks": (*GROUND, "raypipe.storage"),
    "raypipe.tokens": GROUND,
    "raypipe.toml": (*GROUND, "raypipe.config", "raypipe.storage"),
    "jobs": ("raypipe.cli",),
}
ABOVE_THE_WINGS = ("raypipe.pipeline", "raypipe.cli", "raypipe.demo", "raypipe.doctor", "raypipe.compat", "jobs")


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """The full names of all imports of a file, inside functions too; ``from a import b`` gives a.b."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, *filter(None, [base])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def within(name: str, part: str) -> bool:
    return name == part or name.startswith(part + ".")


IMPORTS = {name_of(path): imports_of(path) for path in FILES}


def offences(importer: str, forbidden: tuple[str, ...]) -> list[str]:
    return [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        if within(module, importer)
        for name in sorted(names)
        if any(within(name, part) for part in forbidden)
    ]


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_reader_of_imports_sees_them() -> None:
    assert "raypipe.core.tfidf" in IMPORTS["raypipe.data.vectorise"]
    assert "ray" in IMPORTS["raypipe.runtime"]  # inside a function
    assert {"raypipe.core", "raypipe.data", "raypipe.train", "jobs.prepare"} <= set(IMPORTS)


def test_core_is_free_of_ray_torch_files_and_config() -> None:
    assert offences("raypipe.core", (*HEAVY, "raypipe.config", "pandas", "pyarrow", "fsspec", "time", "os")) == []


def test_data_and_train_never_import_each_other() -> None:
    assert offences("raypipe.data", ("raypipe.train", "torch", "transformers")) == []
    assert offences("raypipe.train", ("raypipe.data",)) == []


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_the_lower_floors_import_nothing_above_them(part: str) -> None:
    allowed = (*MAY_IMPORT[part], part)
    modules = {module: names for module, names in IMPORTS.items() if within(module, part)}
    assert modules
    for module, names in modules.items():
        ours = {name for name in names if within(name, "raypipe") or within(name, "jobs")}
        assert {name for name in ours if not any(within(name, floor) for floor in allowed)} == set(), module


def test_the_package_itself_imports_nothing_of_ours() -> None:
    assert not [name for name in IMPORTS["raypipe"] if within(name, "raypipe")]


@pytest.mark.parametrize("wing", ["data", "train", "evaluate", "report"])
def test_the_wings_import_nothing_from_above(wing: str) -> None:
    assert offences(f"raypipe.{wing}", ABOVE_THE_WINGS) == []


@pytest.mark.parametrize("part", ["hub", "runtime", "splits", "provenance", "estimate", "forecast"])
def test_what_the_wings_stand_on_imports_no_wing(part: str) -> None:
    wings = ("raypipe.data", "raypipe.train", "raypipe.evaluate", "raypipe.report")
    assert offences(f"raypipe.{part}", (*wings, *ABOVE_THE_WINGS)) == []


def test_nothing_of_raypipe_imports_the_jobs() -> None:
    assert offences("raypipe", ("jobs", "tests", "benchmarks")) == []


def test_importing_raypipe_loads_nothing_heavy() -> None:
    code = "import sys, json; before = set(sys.modules); import raypipe, raypipe.cli, raypipe.errors, raypipe.schema; "
    loaded = json.loads(python(code + "print(json.dumps(sorted(set(sys.modules) - before)))"))
    assert "raypipe.cli" in loaded
    foreign = {name.split(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"raypipe"}
    assert foreign == set()


def test_configurations_load_no_numbers_and_the_core_no_ray_or_torch() -> None:
    code = """
import sys

class Wall:
    def find_spec(self, name, path=None, target=None):
        if name in ("ray", "torch", "transformers", "datasets", "wandb", "huggingface_hub"):
            raise ImportError(name)

sys.meta_path.insert(0, Wall())
import raypipe, raypipe.config, raypipe.toml, raypipe.tokens
assert raypipe.PrepareConfig is raypipe.config.PrepareConfig
assert all(getattr(raypipe, name) for name in dir(raypipe))
print([name for name in ("numpy", "scipy", "sklearn", "numba", "pandas") if name in sys.modules])
import raypipe.core.keep, raypipe.core.metrics, raypipe.core.sampling, raypipe.core.similarity
import raypipe.core.text, raypipe.core.tfidf, raypipe.data.records
"""
    assert python(code).strip() == "[]"


def test_the_training_loop_loads_without_ray() -> None:
    code = "import sys; sys.modules['ray'] = None; import raypipe.train.loop as loop; print(loop.fine_tune.__name__)"
    assert python(code).split()[-1] == "fine_tune"


def test_the_driver_of_a_training_needs_no_torch_for_what_it_tells_the_workers() -> None:
    """Ray's controller imports the same: torch and the Trainer take seconds of each."""
    code = "import sys, raypipe.train.finetune, raypipe.train.job"
    code += "; print(sorted({'torch', 'transformers'} & {*sys.modules}))"
    assert python(code).split()[-1] == "[]"


def test_names_that_raypipe_does_not_have() -> None:
    import raypipe

    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        raypipe.nonsense  # noqa: B018


def test_every_module_and_public_name_is_explained() -> None:
    silent = []
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf8"))
        nodes = [tree, *(n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef))]
        for node in nodes:
            name = getattr(node, "name", "")
            if not name.startswith("_") and not ast.get_docstring(node):
                silent.append(f"{name_of(path)}:{name}")
    assert silent == []


def cpu_seconds(command: list[str]) -> tuple[float, str]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE_S)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def test_help_takes_less_than_half_a_second_of_cpu() -> None:
    spent = []
    for _ in range(3):
        seconds, shown = cpu_seconds([sys.executable, "-m", "raypipe.cli", "--help"])
        spent.append(seconds)
        if seconds < 0.5:
            break
    assert min(spent) < 0.5
    assert all(f"\n  {name} " in shown for name in cli.COMMANDS)


def refused(words: list[str], capfd: pytest.CaptureFixture[str], command: str | None = None) -> str:
    """What a refused command says on standard error."""
    with pytest.raises(SystemExit) as caught:
        cli.main(words, command)
    out, err = capfd.readouterr()
    assert caught.value.code == 2
    assert out == ""
    assert "Traceback" not in err
    return err


def test_a_job_takes_the_flags_of_its_command() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    flags = ["--input-hf-dataset", "set", "--learning-rates", "0.001", "--learning-rate", "0.001"]
    done = subprocess.run(
        [sys.executable, ROOT / "jobs" / "sweep.py", *flags],
        capture_output=True,
        text=True,
        env=environment,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "--learning-rate in a sweep" in done.stderr and "best.toml" in done.stderr


def test_an_unknown_command_names_the_nearest(capfd: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'prepare'?" in refused(["prepar"], capfd)
    assert "raypipe --help" in refused(["zzz"], capfd)


def test_a_refused_value_is_one_clear_line(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["prepare", "-i", "d", "-f", "f.jsonl", "-o", "o.jsonl", "--similarity-threshold", "2"]
    expected = "raypipe prepare: --similarity-threshold 2.0; expected a number > 0 and <= 1\n"
    assert refused(words, capfd) == expected
