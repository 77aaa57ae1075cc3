"""Claims on what happens when something fails."""

from faults import FAULTS

from claims.claim import Claim, Result, Table, at


def of_fault(fault: str) -> Claim:
    """The share of its tries that ended as they must, and how many there were."""

    def share(result: Result) -> float:
        found = at("faults", fault)(result)
        return found["ended_well"] / found["made"]

    return Claim(fault, share, ".0%", at_least=1, beside=lambda r: f"of {at('faults', fault, 'made')(r)} tries")


FAULTS_TABLE = Table(
    "Faults made for real",
    "faults",
    "faults",
    lambda r: "small sets, raylets of one machine as machines, servers on loopback",
    tuple(of_fault(fault) for fault in FAULTS),
    "A try ends well in the right result, or in one error and no half output.",
)

LEAKS = Table(
    "What trials leave behind",
    "trial_leaks",
    "trial-leaks",
    lambda r: f"{len(r['sweeps'])} sweeps in one Ray, two trials at a time on two CPUs",
    (
        Claim("starts and stops of trials", at("cycles"), "d", at_least=20),
        Claim(
            "sweeps after which a placement group, an actor, a process or a CPU was not given back",
            lambda r: len(r["leaked"]),
            "d",
            at_most=0,
        ),
    ),
)

TABLES = (FAULTS_TABLE, LEAKS)
