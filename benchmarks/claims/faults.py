"""Claims on faults made for real, and on what trials leave behind."""

from faults import FAULTS

from claims.claim import Claim, Read, Result, Table


def ended_well(fault: str) -> Read:
    def share(result: Result) -> float:
        found = result["faults"][fault]
        return found["ended_well"] / found["made"]

    return share


def tries(fault: str) -> Read:
    return lambda result: f"of {result['faults'][fault]['made']}"


def most_left(kind: str) -> Read:
    """The most of a kind that any sweep left, beyond what was there before."""
    return lambda result: max(sweep["left"][kind] - result["before"][kind] for sweep in result["sweeps"])


MADE = Table(
    "Faults made for real",
    "faults",
    "faults",
    lambda r: f"{sum(found['made'] for found in r['faults'].values())} tries, small data",
    tuple(
        Claim(f"{fault}: tries that ended well", ended_well(fault), ".0%", at_least=1.0, beside=tries(fault))
        for fault in FAULTS
    ),
    "Ended well: the undisturbed run's result (bytes, weights, predictions), or one error and no half output.",
)
LEAKS = Table(
    "Trials give back what they took",
    "trial_leaks",
    "trial-leaks",
    lambda r: f"{r['cycles']} trials in {len(r['sweeps'])} sweeps of one Ray",
    (
        Claim("trials started and stopped", lambda r: r["cycles"], "d", at_least=20),
        *(
            Claim(f"{kind.replace('_', ' ')} left", most_left(kind), "d", at_most=0)
            for kind in ("placement_groups", "actors", "processes")
        ),
    ),
)
TABLES = (MADE, LEAKS)
