"""Write docs/benchmarks.md from results/: what was measured and on what, the target, and what was seen.

    python benchmarks/page.py

The newest file of each name counts. Nothing is measured here, and the same files give the same page.
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import origin
from claims import HELD_BY_TESTS, MET, MISSED, NOT_RUN, QUICK, SECTIONS, Claim, Result, Table
from suite import HERE, SUITE

RESULTS, PAGE = HERE / "results", HERE.parent / "docs" / "benchmarks.md"
TABLES = tuple(itertools.chain(*SECTIONS.values()))
SCRIPTS = {script.name: script for script in SUITE}
INTRODUCTION = """# Benchmarks

Written by `make bench-page` from the files in [benchmarks/results](../benchmarks/results), not by hand. The targets
stand in `benchmarks/claims`; numbers without one are stated for what they are. `make bench LONG=1` measures again what
the machine can. [benchmarks/README.md](../benchmarks/README.md) says what each script compares, and with which peers.
"""


class Found(NamedTuple):
    """A result file."""

    path: Path
    result: Result

    def link(self) -> str:
        return f"[{self.path.name}](../benchmarks/results/{self.path.name})"


def newest(folder: Path) -> dict[str, Found]:
    """The newest file of each name, in the order in which they were finished."""
    files = {origin.name(path): Found(path, json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))}
    return dict(sorted(files.items(), key=lambda item: item[1].result["finished"]))


def holding(table: Table, results: dict[str, Found]) -> Found | None:
    """The last file that holds some of a table."""
    held = [found for name, found in results.items() if table.is_in(name, found.result)]
    return held[-1] if held else None


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def rows_of(table: Table, result: Result | None) -> Iterator[str]:
    yield row("what", "target", "seen", "")
    yield row(*["---"] * 4)
    for claim in table.claims:
        yield row(claim.what, claim.target(), claim.seen(result), claim.verdict(result))


def where_from(found: Found) -> Iterator[str]:
    """Machine, versions, day, commit, command, file."""
    result = found.result
    yield f"- {', '.join(filter(None, [origin.machine(result), origin.load(result)]))}; {origin.versions(result)}"
    yield f"- {origin.day(found.path)}, {origin.commit(result)}, {found.link()}"
    yield f"- `{origin.repeat(result)}`"


def section(table: Table, found: Found | None) -> Iterator[str]:
    """One table with its origin."""
    yield f"### {table.title}\n"
    yield f"{SCRIPTS[table.script].question()} {table.remark}".strip() + "\n"
    yield from rows_of(table, found.result if found else None)
    yield ""
    if found:
        yield f"- On {table.data(found.result)}"
        yield from where_from(found)
    else:
        yield f"- `{SCRIPTS[table.script].command()}`"
    yield ""


def judged(results: dict[str, Found]) -> Iterator[tuple[Table, Claim, Result | None]]:
    """Each claim that has a target."""
    for table in TABLES:
        found = holding(table, results)
        for claim in table.claims:
            if claim.has_target:
                yield table, claim, found.result if found else None


def summary(results: dict[str, Found]) -> Iterator[str]:
    """How many targets were met, and each that was not."""
    claims = [(*claim, claim[1].verdict(claim[2])) for claim in judged(results)]
    count = {verdict: sum(found == verdict for *_, found in claims) for verdict in (MET, MISSED, NOT_RUN)}
    yield f"Of {len(claims)} targets {count[MET]} are met, {count[MISSED]} missed, {count[NOT_RUN]} not run yet.\n"
    if count[MISSED]:
        yield row("missed", "what", "target", "seen")
        yield row(*["---"] * 4)
    for table, claim, result, verdict in claims:
        if verdict == MISSED:
            yield row(table.title, claim.what, claim.target(), claim.seen(result))
    yield ""


def held_by_tests() -> Iterator[str]:
    yield "## Held by tests\n"
    yield "These are checked with every change, by `make test`, and have no file.\n"
    yield row("what", "target", "test")
    yield row(*["---"] * 3)
    for what, target, test in HELD_BY_TESTS:
        yield row(what, target, f"[{test}](../{test})")
    yield ""


def small_runs(results: dict[str, Found]) -> Iterator[str]:
    """What `make bench` measured at a size of minutes; not judged."""
    quick = {name: found for name, found in results.items() if QUICK in name}
    if not quick:
        return
    yield "## Small runs\n"
    yield "By `make bench`, to see that the scripts work; the sizes are too small for the targets.\n"
    yield row("script", "what", "seen", "day")
    yield row(*["---"] * 4)
    for table, (name, (path, result)) in itertools.product(TABLES, quick.items()):
        for claim in table.claims if name.startswith(table.script + QUICK) else ():
            if seen := claim.seen(result):
                yield row(table.script, claim.what, seen, origin.day(path))
    yield ""


def others(results: dict[str, Found]) -> Iterator[str]:
    """Files that no table reads."""
    left = [
        found
        for name, found in results.items()
        if QUICK not in name and not any(table.is_in(name, found.result) for table in TABLES)
    ]
    if left:
        yield "## Other results\n"
        yield row("file", "command", "commit")
        yield row(*["---"] * 3)
        for found in left:
            gone = "" if origin.is_there(found.result) else " (a script that has gone since)"
            yield row(found.link(), f"`{origin.repeat(found.result)}`{gone}", origin.commit(found.result))
        yield ""


def render(results: dict[str, Found]) -> str:
    """The whole page."""
    lines = [INTRODUCTION, *summary(results)]
    for title, tables in SECTIONS.items():
        lines.append(f"## {title}\n")
        for table in tables:
            lines += section(table, holding(table, results))
    lines += [*held_by_tests(), *small_runs(results), *others(results)]
    return "\n".join(lines).rstrip("\n") + "\n"


def main() -> None:
    PAGE.write_text(render(newest(RESULTS)), encoding="utf8")
    print(f"wrote {PAGE.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
