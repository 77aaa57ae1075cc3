"""Claims on `--dry-run`."""

from claims.claim import Claim, Table, at

SETS = ("banking77", "hwu64", "prose")
COMMANDS = ("prepare", "train", "evaluate")


def table(name: str) -> Table:
    return Table(
        f"What a dry run predicts, {name}",
        "dry_run",
        "dry-run",
        lambda r: f"{name}; CPUs of Ray: {r['num_cpus']}, epochs: {r['epochs']:g}",
        tuple(
            Claim(
                f"{command}: seconds predicted over those that it took",
                at("sets", name, command, "stages", "all", "ratio"),
                ".2f",
                at_least=0.7,
                at_most=1.3,
            )
            for command in COMMANDS
        ),
    )


TABLES = tuple(table(name) for name in SETS)
