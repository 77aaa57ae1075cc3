"""What prepare's report says beyond the counts: contrasts, proposed merges, lengths; and what only the page shows."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from raypipe import provenance
from raypipe.config import PrepareConfig
from raypipe.data import contrast, groups, hygiene, lengths, previous, rowwise
from raypipe.data.table import TO_TEST, TO_TRAIN, Table
from raypipe.pipeline.job import PrepareJob
from raypipe.schema import ID, MULTI_LABEL, TEST, TRAIN, WEIGHT

_NO_VALUE = ("nan", "none", "null", "n/a", "<na>")  # as labels, in any case


def report(job: PrepareJob, table: Any, facts: dict[str, Any]) -> dict[str, Any]:
    """The content of NAME_report.json, but for the checksums of the outputs."""
    sizes = {
        TRAIN: table.class_sizes(np.flatnonzero(table.side == TO_TRAIN)),
        TEST: table.class_sizes(np.flatnonzero(table.side == TO_TEST)),
        "in": table.raw_class_sizes(),
    }
    classes = {
        name: {side: int(sizes[side][code]) for side in ("in", TRAIN, TEST)}
        for code, name in enumerate(table.names)
        if sizes["in"][code]
    }
    splits = {side: int(sizes[side].sum()) for side in (TRAIN, TEST)}
    files = table.by_file()
    return {
        "rows_in": len(table.order),
        "kept": sum(splits.values()),
        "splits": splits,
        "removed": table.reasons(),
        "classes": classes,
        "files": files,
        "notices": _notices(table, classes, files, facts, job.config)
        + previous.notices(job.earlier, facts["previous"]),
        **facts,
        "corrections": table.corrections,
        "relabelled_by_majority": table.relabelled,
        "extra_columns": table.extra_columns_without(job.config.text, job.config.subject),
        "published": None,
        "seconds": job.clock.seconds,
        "config": job.config.public(),
        "config_hash": job.config.hash(),
        "sha256": {"inputs": job.checksums, "outputs": {}},
        **provenance.record(),
    }


def facts(table: Table) -> dict[str, Any]:
    """More of the report, without any row's text."""
    return {
        "differ_only_in": contrast.count(table),
        "proposed_merges": hygiene.proposed_merges(table),
        "text_lengths": lengths.lengths(table),
    }


def _notices(
    table: Any,
    classes: dict[str, dict[str, int]],
    files: dict[str, dict[str, int]],
    facts: dict[str, Any],
    config: PrepareConfig,
) -> list[str]:
    """What a reader of the report should know beside the numbers."""
    single = [name for name, c in classes.items() if c[TRAIN] == 1 and c[TEST] == 0]
    corrections = table.corrections or {}
    lists = sum(detail.endswith(MULTI_LABEL) for detail in table.ingest_details.values())
    kept = {name: c[TRAIN] + c[TEST] for name, c in classes.items()}
    gone = [name for name, n in kept.items() if not n]
    rows = sum(kept.values())
    no_values = [f"{name!r} ({n:,} kept)" for name, n in kept.items() if n and name.casefold() in _NO_VALUE]
    own = [name for name in (ID, WEIGHT) if name in table.extra_columns_without(config.text, config.subject)]
    empty = [name for name, count in files.items() if count["rows"] == count["unusable"]]
    notices = {
        f"warning: {len(single):,} of {rows:,} kept rows are the only one of their class; is {config.subject!r} the "
        "column of a label? (--subject)": len(single) > rows / 2,
        f"{len(empty)} input file(s) without a usable row: {', '.join(empty[:10])}": empty,
        "more than a tenth of the letters belong to scripts without spaces, so --analyzer auto took "
        + facts["analyzer"]: config.analyzer == "auto" and not facts["analyzer"].startswith("word"),
        f"{len(single)} class(es) with one row, which is in train: {', '.join(single[:10])}": single,
        f"{len(gone)} class(es) with no row left: {', '.join(gone[:10])}": gone,
        f"{facts['rows_without_features']} rows have no feature and are never near-duplicates": facts[
            "rows_without_features"
        ],
        f"labels that other tools write for a missing value are classes here: {', '.join(no_values)}; "
        "--labels-to-filter takes them out": no_values,
        f"the input's own {' and '.join(own)} not carried: in the outputs id is FILE:LINE, and weight the rows that "
        "one stands for": own,
        f"{lists} rows have a list of labels; multi-label input is not supported": lists,
        f"{corrections.get('without_rows')} corrections match no row": corrections.get("without_rows"),
        f"{table.relabelled} kept rows took the majority label of their duplicates": table.relabelled,
    }
    return [text for text, holds in notices.items() if holds] + _contrast_notices(facts)


def _contrast_notices(facts: dict[str, Any]) -> list[str]:
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
