"""prepare --explore: what each similarity threshold would remove, so that a person can choose one."""

import os
from typing import Any

import numpy as np

from raypipe import provenance, storage
from raypipe.pipeline.common import write_json
from raypipe.pipeline.job import PrepareJob, refuse_changed_input
from raypipe.runtime import require_shared, say, session
from raypipe.schema import StageResult


def explore(job: PrepareJob) -> StageResult:
    """Write DIR/NAME_explore.html and, as its completion mark, DIR/NAME_explore.json; no dataset.

    Raises ConfigError or DataError before anything is written.
    """
    from raypipe.report import console

    config, out = job.config, job.out
    finished = job.finished()
    with session(config):
        require_shared(job.source, out.folder, config.decontaminate)
        job.read_checksums()
        refuse_changed_input(finished, job.checksums)
        report = finished or job.run(lambda work: _stages(job, out, work))
    console.explore_table(report)
    removed = {f"{entry['threshold']:.2f}": entry["removed"] for entry in report["thresholds"]}
    counts = {"rows_in": report["rows_in"], "rows": report["rows"], "pairs": report["pairs"], "removed": removed}
    return StageResult(
        "prepare", config.hash(), "skipped" if finished else "done", out.paths(), counts, seconds=job.clock.total()
    )


class Outputs:
    """The names of an exploration under DIR/NAME."""

    def __init__(self, output_filename: str) -> None:
        path = storage.absolute(output_filename)
        self.folder, self.name = storage.parent(path), f"{os.path.basename(path).removesuffix('.jsonl')}_explore"
        self.mark_name, self.page = f"{self.name}.json", f"{self.name}.html"
        self.mark = storage.join(self.folder, self.mark_name)

    def paths(self) -> dict[str, str]:
        return {"explore": self.mark, "page": storage.join(self.folder, self.page)}


def _stages(job: PrepareJob, out: Outputs, work: Any) -> dict[str, Any]:
    from raypipe.data import bands, explore
    from raypipe.report import pages

    config, clock = job.config, job.clock
    table, vectors = job.vectorised(work)
    with clock("join"):
        found = explore.graph(table, vectors, config.block_rows, config.explore_max_pairs)
        say(f"{len(found.pairs.left):,} pairs at {explore.THRESHOLDS[0]} among {found.size:,} distinct vectors")
    with clock("thresholds"):
        outcomes = list(explore.outcomes(found))
        thresholds = bands.threshold_rows(table, outcomes, len(found.rows))
        say("texts of a few removals from each band of similarity are read for the page")
        described = bands.bands(table, outcomes, config.seed)
    pairs = np.bincount(explore.band_of(found.pairs.cosine), minlength=len(explore.THRESHOLDS))
    report = {
        "rows_in": len(table.order),
        "rows": len(found.rows),
        "left_before": table.reasons(),
        "rows_without_features": int((found.vector < 0).sum()),
        "distinct_vectors": found.size,
        "pairs": len(found.pairs.left),
        "analyzer": str(vectors.analyzer),
        "thresholds": thresholds,
        "bands": [band | {"pairs": int(n)} for band, n in zip(described, pairs, strict=True)],
        "seconds": clock.seconds,
        "config": config.public(),
        "config_hash": config.hash(),
        "sha256": {"inputs": job.checksums},
        **provenance.record(),
    }
    with storage.staged(out.folder, out.mark_name, [out.page]) as stage:
        storage.write_text(os.path.join(stage, out.page), pages.explore_page(report))
        write_json(os.path.join(stage, out.mark_name), report)
    return report
