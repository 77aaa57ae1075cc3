"""What is in the known sets: chains of near-copies, rows and conflicts by threshold, padding of batches?

    python benchmarks/known_sets.py --data ../shared/data [--sets banking77 hwu64]

Rows and conflicts are those of `raypipe prepare --explore`. A chain is a connected component of rows at a cosine of 0.7
or more. Padding is the share of padding tokens in an epoch of the small models' recipe, MiniLM's tokenizer: in
token-budget batches, and in as many rows taken by chance.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from common import parser_for, report, vectorise
from exactness import SETS
from results_file import save
from training_sides import SEED, read

from raypipe import PrepareConfig, pipeline
from raypipe.config import CPU_TOKEN_BUDGET, CommonConfig
from raypipe.core import similarity
from raypipe.core.tfidf import Analyzer
from raypipe.demo import encoder_path
from raypipe.hub import Source
from raypipe.runtime import session
from raypipe.train import modeling
from raypipe.train.batching import TokenBatches

CHAIN_AT, STEP_ROWS = 0.7, 16


def by_threshold(data: Path, name: str) -> list[dict[str, Any]]:
    """What --explore says would be removed."""
    file, text, label = SETS[name]
    with tempfile.TemporaryDirectory() as out:
        config = PrepareConfig(
            input_dir=str(data / name),
            input_filename=file,
            output_filename=f"{out}/set.jsonl",
            text=text,
            subject=label,
            explore=True,
        )
        found = json.loads(Path(pipeline.prepare(config).outputs["explore"]).read_text())
    return found["thresholds"]


def longest_chain(texts: list[str]) -> int:
    """Rows of the largest connected component."""
    pairs = similarity.self_join(vectorise(texts, Analyzer()), CHAIN_AT)
    graph = sp.coo_matrix((np.ones(len(pairs.left), bool), (pairs.left, pairs.right)), shape=(len(texts),) * 2)
    return int(np.bincount(sp.csgraph.connected_components(graph, directed=False)[1]).max())


def padding(texts: list[str]) -> dict[str, float]:
    """Share of padding tokens."""
    ids, _ = modeling.encode(modeling.load_tokenizer(Source(encoder_path()), None), texts, 512, "head")
    lengths = np.array([len(row) for row in ids])
    by_chance = np.random.default_rng(SEED).permutation(len(lengths))
    batches = {
        "token_budget": list(TokenBatches(lengths, STEP_ROWS, CPU_TOKEN_BUDGET, SEED, epochs=1)),
        "by_chance": np.array_split(by_chance, len(lengths) // STEP_ROWS),
    }
    padded = {kind: sum(len(rows) * int(lengths[rows].max()) for rows in cut) for kind, cut in batches.items()}
    return {kind: round(1 - int(lengths.sum()) / tokens, 4) for kind, tokens in padded.items()}


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the known sets")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    options = parser.parse_args()
    found = []
    for name in options.sets:
        texts, _ = read(str(options.data), name)
        with session(CommonConfig()):
            thresholds = by_threshold(options.data, name)
        measured = {"thresholds": thresholds, "longest_chain": longest_chain(texts), "padding": padding(texts)}
        found.append({"set": name, "rows": len(texts), **measured})
        report(found[-1])
    save(options.name or "known-sets", {"chain_at": CHAIN_AT, "step_rows": STEP_ROWS, "sets": found})


if __name__ == "__main__":
    main()
