"""What prepare's report says beyond the counts: contrasts, proposed merges, lengths; and what only the page shows."""

from collections.abc import Iterator
from typing import Any

from raypipe.data import contrast, groups, hygiene, lengths, rowwise
from raypipe.data.table import Table


def facts(table: Table) -> dict[str, Any]:
    """More of the report, without any row's text."""
    return {
        "differ_only_in": contrast.count(table),
        "proposed_merges": hygiene.proposed_merges(table),
        "text_lengths": lengths.lengths(table),
    }


def notices(facts: dict[str, Any]) -> list[str]:
    """What of these facts a reader should be told."""
    found = []
    if contrasts := contrast.notice(facts["differ_only_in"]):
        found.append(contrasts)
    if groups_of_labels := len(facts["proposed_merges"]["same_spelling"]):
        found.append(
            f"{groups_of_labels} group(s) of labels look like spellings of one; proposed_merges has a file for "
            "--label-map, to be read before it is used"
        )
    return found


def examples(table: Table, counts: dict[str, Any]) -> dict[str, Any]:
    """Rows with their texts for the page alone: the largest groups of duplicates, and contrasts as counted."""
    largest = groups.largest_groups(table)
    number = {table.row_id(int(row)): int(row) for row in contrast.near_removals(table)}
    pairs = {
        kind: [(number[pair["id"]], int(table.witness[number[pair["id"]]])) for pair in found]
        for kind, found in counts["examples"].items()
    }
    texts = rowwise.fetch_texts(table, _rows(largest, pairs))

    def shown(row: int) -> dict[str, Any]:
        similarity = None if table.similarity[row] != table.similarity[row] else float(table.similarity[row])
        label = table.names[table.raw_label[row]]
        return {"id": table.row_id(row), "text": texts[row], "label": label, "similarity": similarity}

    return {
        "groups": [
            {"witness": shown(g["row"]), "followers": g["followers"], "shown": [shown(r) for r in g["shown"]]}
            for g in largest
        ],
        "contrasts": {kind: [(shown(row), shown(witness)) for row, witness in p] for kind, p in pairs.items()},
    }


def _rows(largest: list[dict[str, Any]], pairs: dict[str, list[tuple[int, int]]]) -> Iterator[int]:
    for group in largest:
        yield from (group["row"], *group["shown"])
    for found in pairs.values():
        for pair in found:
            yield from pair
