"""The dependency audit of `make check`: what pip-audit answers, and what becomes of it."""

import importlib.util
import json
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("pins_audit", Path(__file__).parent.parent / ".ci" / "audit.py")
assert _SPEC is not None and _SPEC.loader is not None
audit = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(audit)

SKIPPED = {"name": "a", "skip_reason": "Dependency not found on PyPI"}
CLEAN = {"name": "b", "version": "1", "vulns": []}
FAULTY = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"], "aliases": []}]}


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        (None, 0, "not made, the source"),
        ([SKIPPED], 0, "not made, the package index"),
        ([SKIPPED, CLEAN], 0, "no known vulnerability in 1 of 2 pins"),
        ([SKIPPED, CLEAN, FAULTY], 1, "c 2: PYSEC-1, mended in 2.1"),
    ],
)
def test_only_a_known_vulnerability_fails(packages, code, said):
    found = audit.verdict("" if packages is None else json.dumps({"dependencies": packages, "fixes": []}))
    assert found[0] == code and said in found[1]
