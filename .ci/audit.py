"""Known vulnerabilities of the pinned packages, by pip-audit; no failure where nothing can be asked.

    python .ci/audit.py

A machine without network, or whose package index answers no questions about vulnerabilities, is said and passed:
the audit is of use where it can be made, and stops nobody elsewhere. Exit code 1: a pin has a known vulnerability.
"""

import json
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).parent.parent / "constraints.txt"
COMMAND = (
    "-m",
    "pip_audit",
    "-r",
    str(PINS),
    "--no-deps",
    "--disable-pip",
    "--format",
    "json",
    "--progress-spinner=off",
)
TIMEOUT_S = 180


def main() -> int:
    try:
        done = subprocess.run([sys.executable, *COMMAND], capture_output=True, text=True, timeout=TIMEOUT_S)
        code, said = verdict(done.stdout)
    except subprocess.TimeoutExpired:
        code, said = verdict("")
    print(f"audit of {PINS.name}: {said}")
    return code


def verdict(answer: str) -> tuple[int, str]:
    """Exit code and one message for what pip-audit wrote; empty where it failed before it had an answer."""
    if not answer.strip():
        return 0, "not made, the source of vulnerabilities cannot be reached"
    packages = json.loads(answer)["dependencies"]
    audited = [package for package in packages if "skip_reason" not in package]
    if not audited:
        return 0, f"not made, the package index knows of no vulnerabilities at all ({len(packages)} pins asked for)"
    found = [
        f"{package['name']} {package['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'none'}"
        for package in audited
        for fault in package["vulns"]
    ]
    if found:
        return 1, f"{len(found)} known vulnerabilities\n  " + "\n  ".join(found)
    return 0, f"no known vulnerability in {len(audited)} of {len(packages)} pins"


if __name__ == "__main__":
    sys.exit(main())
