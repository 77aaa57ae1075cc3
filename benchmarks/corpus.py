"""Real text for the other scripts: what the packages installed beside this Python say about themselves.

    python benchmarks/corpus.py --rows 60000 --min-words 30 --output out/corpus/sixty.jsonl

Whole docstrings, long string literals and comment blocks of all Python files under site-packages and the standard
library, and the documentation strings of botocore's service descriptions without their HTML tags: untruncated, distinct
by canonical text, the package (of botocore the service) as label. All of it is cached once under out/corpus/ (three
minutes) in the order of a hash of the text, so that every prefix is a fair sample. The same environment gives the same
file.
"""

import argparse
import ast
import gzip
import hashlib
import html
import inspect
import json
import re
import statistics
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from raypipe.core import text as core_text

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "out" / "corpus" / "all.jsonl"
SOURCE = (
    "docstrings, long string literals and comment blocks of the installed Python packages and standard library; "
    "documentation of botocore's services; untruncated"
)
MIN_WORDS, MAX_FILE_BYTES = 4, 4_000_000
LONG = 200  # characters from which a string literal or a comment block counts as text
_COMMENT, _MARK = re.compile(r"(?:^[ \t]*#.*\n){3,}", re.M), re.compile(r"^[ \t]*#+ ?", re.M)
_TAG, _BLOCK_TAG = re.compile(r"<[^>]*>"), re.compile(r"</?(?:p|li|ul|ol|br|dl|dt|dd|div|note|important|h\d)\b[^>]*>")


class Text(NamedTuple):
    text: str
    label: str
    words: int


def load(rows: int | None = None, min_words: int = MIN_WORDS, max_words: int | None = None) -> list[Text]:
    """The first ``rows`` distinct texts of the wanted length; gathers all of them first where that was not done yet."""
    if not CACHE.exists():
        _gather()
    found: list[Text] = []
    with open(CACHE, encoding="utf8") as file:
        for line in file:
            entry = Text(**json.loads(line))
            if min_words <= entry.words <= (max_words or entry.words):
                found.append(entry)
                if len(found) == rows:
                    return found
    if rows is not None:
        raise SystemExit(f"{rows} texts of {min_words} to {max_words} words asked for, {len(found)} are here")
    return found


def describe(texts: list[Text]) -> dict[str, object]:
    """What a result file says of its data."""
    digest = hashlib.sha256("\0".join(t.text for t in texts).encode()).hexdigest()
    return {
        "source": SOURCE,
        "rows": len(texts),
        "distinct": len({t.text for t in texts}),
        "labels": len({t.label for t in texts}),
        "mean_words": round(statistics.fmean(t.words for t in texts), 1),
        "median_words": statistics.median(t.words for t in texts),
        "sha256": digest,
    }


def write_jsonl(texts: list[Text], path: Path) -> None:
    """Rows with the columns text and label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf8") as file:
        for t in texts:
            file.write(json.dumps({"text": t.text, "label": t.label}, ensure_ascii=False) + "\n")


def first_sentences(rows: int | None = None, min_words: int = 5, max_words: int = 40) -> list[Text]:
    """Distinct first sentences: the text up to its first full stop or blank line, on one line."""
    found: dict[str, Text] = {}
    for text, label, _ in load():
        sentence = " ".join(re.split(r"(?<=[.!?])\s|\n\s*\n", text.strip(), maxsplit=1)[0].split())
        words = len(sentence.split(" "))
        if min_words <= words <= max_words:
            found.setdefault(sentence, Text(sentence, label, words))
            if len(found) == rows:
                break
    return list(found.values())


def _gather() -> None:
    distinct: dict[bytes, Text] = {}
    for text, label in _everything():
        canonical = core_text.canonical(text)
        words = len(canonical.split(" "))
        if words >= MIN_WORDS:
            key = hashlib.blake2b(canonical.encode(), digest_size=16).digest()
            distinct.setdefault(key, Text(text, label, words))
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    partial = CACHE.with_suffix(".partial")
    with open(partial, "w", encoding="utf8") as file:
        for key in sorted(distinct):
            file.write(json.dumps(distinct[key]._asdict(), ensure_ascii=False) + "\n")
    partial.rename(CACHE)


def _everything() -> Iterator[tuple[str, str]]:
    paths = sysconfig.get_paths()
    packages, standard = Path(paths["purelib"]), Path(paths["stdlib"])
    warnings.simplefilter("ignore", SyntaxWarning)  # other people's string escapes
    for file in sorted(packages.rglob("*.py")):
        yield from _strings(file, file.relative_to(packages).parts[0].removesuffix(".py"))
    for file in sorted(standard.rglob("*.py")):
        if "site-packages" not in file.parts:
            yield from _strings(file, "python." + file.relative_to(standard).parts[0].removesuffix(".py"))
    for service in sorted((packages / "botocore" / "data").glob("*/")):
        for file in sorted(service.glob("*/*-2.json*")):
            content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
            for text in _documentation(json.loads(content)):
                yield text, f"botocore.{service.name}"


def _strings(file: Path, label: str) -> Iterator[tuple[str, str]]:
    """Docstrings, long literals and comment blocks of a module; nothing from a file that does not parse."""
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            return
        source = file.read_bytes()
        tree = ast.parse(source)
    except (SyntaxError, ValueError, OSError, RecursionError):
        return
    for node in ast.walk(tree):
        text = ""
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node) or ""
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) >= LONG:
            text = inspect.cleandoc(node.value)
        if text:
            yield text.strip().encode(errors="replace").decode(), label
    for block in _COMMENT.findall(source.decode(errors="replace")):
        if len(block) >= LONG:
            yield _MARK.sub("", block).strip(), label


def _documentation(value: object) -> Iterator[str]:
    """The documentation strings of a service description, at any depth, as plain text."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "documentation" and isinstance(inner, str):
                lines = html.unescape(_TAG.sub("", _BLOCK_TAG.sub("\n", inner))).split("\n")
                yield "\n".join(filter(None, (" ".join(line.split()) for line in lines)))
            else:
                yield from _documentation(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _documentation(inner)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, help="all of them by default")
    parser.add_argument("--min-words", type=int, default=MIN_WORDS)
    parser.add_argument("--max-words", type=int)
    parser.add_argument("--output", type=Path, help="write JSONL with the columns text and label")
    options = parser.parse_args()
    texts = load(options.rows, options.min_words, options.max_words)
    print(json.dumps(describe(texts), indent=1))
    if options.output is not None:
        write_jsonl(texts, options.output)


if __name__ == "__main__":
    main()
