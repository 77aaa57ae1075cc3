"""The benchmarks page is what the committed results say, and what misses its target is shown as missed."""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))

import origin  # noqa: E402
import page  # noqa: E402
import run  # noqa: E402
from claims import HELD_BY_TESTS, SECTIONS  # noqa: E402
from claims.claim import MET, MISSED, NOT_RUN, Claim, at  # noqa: E402
from suite import PLACES, SUITE, Script  # noqa: E402

MADE = {
    "command": "train_speed.py --data data --name trial",
    "git_commit": "0123456789abcdef+changes",
    "hardware": {"machine": "x86_64", "cpus": 2, "memory_gib": 8.0},
    "versions": {"python": "3.11.7", "ray": "2.60.0"},
    "finished": "2026-01-01T00:00:00Z",
}


def rendered(folder: Path, **results) -> str:
    """The page of a folder with these results."""
    for name, measured in results.items():
        (folder / f"{name}.json").write_text(json.dumps(MADE | measured))
    return page.render(page.newest(folder))


def overhead(ratio: float) -> dict:
    return {"data": {"rows": 10, "set": "banking77"}, "seconds": [1, 2], "ray_train_times_bare": ratio}


def line_of(text: str, what: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"| {what}"))


def test_the_committed_page_is_that_of_the_committed_results():
    assert page.PAGE.read_text(encoding="utf8") == page.render(page.newest(page.RESULTS)), "run make bench-page"


@pytest.mark.parametrize(("ratio", "verdict"), [(1.02, MET), (1.03, MISSED)])
def test_a_result_is_held_to_its_target(tmp_path, ratio, verdict):
    text = rendered(tmp_path, **{"2026-01-01-ray_overhead": overhead(ratio)})
    line = line_of(text, "seconds over those of the same loop in a bare process")
    assert line.split(" | ")[1:] == ["≤ 1.02", f"{ratio:.3f}", f"{verdict} |"]
    assert ("| What Ray Train costs |" in text) == (verdict == MISSED), "what is missed stands at the top too"
    assert f"{int(verdict == MET)} are met, {int(verdict == MISSED)} missed" in text


def test_the_newest_file_of_a_name_counts(tmp_path):
    text = rendered(tmp_path, **{"2026-02-01-ray_overhead": overhead(1.0), "2026-01-01-ray_overhead": overhead(1.5)})
    assert "1.000 | met" in text and "1.500" not in text


def test_a_run_on_some_of_the_sets_is_found_by_the_start_of_its_name(tmp_path):
    later = {"finished": "2026-01-02T00:00:00Z"}
    text = rendered(
        tmp_path, **{"2026-01-02-ray_overhead-hwu64": overhead(1.0) | later, "2026-01-01-ray_overhead": overhead(1.5)}
    )
    assert "1.000 | met" in text and "1.500" not in text and "Other results" not in text


def test_without_results_nothing_is_met(tmp_path):
    text = rendered(tmp_path)
    assert " 0 are met, 0 missed" in text and text.count(f"| {NOT_RUN} |") > 50


def test_quick_results_are_shown_and_not_judged(tmp_path):
    text = rendered(tmp_path, **{"2026-01-01-ray_overhead-quick-banking77": overhead(9.0)})
    assert " 0 are met, 0 missed" in text
    assert re.search(r"\| ray_overhead \| seconds over .* \| 9\.000 \| 2026-01-01 \|", text)


def test_a_result_that_no_table_reads_is_listed(tmp_path):
    text = rendered(tmp_path, **{"2026-01-01-something": {}})
    assert "something.json) | `python benchmarks/train_speed.py --data ../shared/data --name trial` |" in text


def test_a_claim_says_its_bounds_and_judges_by_them():
    between = Claim("share", at("sets", {"set": "a"}, "share"), ".1%", at_least=0.945, at_most=0.955)
    assert between.target() == "94.5 % to 95.5 %"
    found = [between.verdict({"sets": [{"set": "a", "share": share}]}) for share in (0.94, 0.95, 0.96)]
    assert found == [MISSED, MET, MISSED]
    assert between.verdict({"sets": [{"set": "b", "share": 0.95}]}) == NOT_RUN
    assert between.seen({"sets": [{"set": "a", "share": 0.95}]}) == "95.0 %"


def test_where_a_result_comes_from_is_said():
    assert origin.commit(MADE) == "commit 01234567 with changes"
    assert origin.machine(MADE) == "x86_64, 2 CPUs, 8 GiB"
    theirs = {"sparse-dot-topn": "1.2.0", "ray": "2.0", "text_dedup": {"text-dedup": "0.4.0"}}
    assert (
        origin.versions(MADE | {"peers": theirs})
        == "python 3.11.7, ray 2.60.0; sparse-dot-topn 1.2.0; text-dedup 0.4.0"
    )


def test_every_script_is_in_the_suite():
    """Those that save a result; and what a table or the page names is there."""
    saving = {path.stem for path in page.HERE.glob("*.py") if "from results_file import" in path.read_text()}
    scripts = {script.name for script in SUITE}
    assert saving == scripts
    assert {table.script for tables in SECTIONS.values() for table in tables} == scripts
    assert all(script.question() for script in SUITE)
    shared = (page.HERE / "common.py").read_text()
    for script in SUITE:
        known = set(re.findall(r'"(--[a-z-]+)"', script.path.read_text() + shared))
        assert {word for word in script.arguments(PLACES, False) if word.startswith("--")} <= known, script.name
    assert all((ROOT / test).exists() for *_, test in HELD_BY_TESTS)


def test_what_a_machine_lacks_is_left_out_with_the_reason():
    with_peers = Script("join", "--peers {peers}", quick="--rows 5")
    assert run.reason_to_leave_out(with_peers, {}, False) == "no peers' environment (--peers or RAYPIPE_PEERS)"
    assert run.reason_to_leave_out(with_peers, {"peers": "p"}, False) is None
    assert run.reason_to_leave_out(Script("gpu_train", on_gpu=True), {}, True) == "no GPU"
    assert run.reason_to_leave_out(Script("defaults", quick=None), {}, False) == "no quick size (--long)"
    assert with_peers.arguments({"peers": "p"}, False) == ["--peers", "p", "--rows", "5", "--name", "join-quick"]
    assert with_peers.arguments({"peers": "p"}, True) == ["--peers", "p"]
    optional = Script("determinism", optional="--data {data}/hwu64")
    assert optional.arguments({}, True) == [] and optional.arguments({"data": "d"}, True) == ["--data", "d/hwu64"]
