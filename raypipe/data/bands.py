"""What a person needs to choose a threshold: numbers at each, and what the rows of each band of similarity are like.

A band runs from one threshold to the next; its removals are the rows that the keep rule removes at the band's lower
end because of a witness inside the band: what this step of the threshold costs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import ray

from raypipe.core import contrast
from raypipe.data import rowwise
from raypipe.data.explore import THRESHOLDS, Outcome, band_of
from raypipe.data.table import Table

EXAMPLES = 5  # removals shown of each band, with distinct witnesses where there are so many
TOKENS = 12  # most frequent differing tokens listed of each band
_CHUNK = 100_000  # removals compared at once; bounds a task's memory


def threshold_rows(table: Table, found: Sequence[Outcome], rows: int) -> list[dict]:
    """One entry for each threshold: who would leave, with which disagreements and contrasts."""
    involved = _involved(found)
    prints = rowwise.gather(table, involved, contrast.fingerprints)
    entries = []
    for o in found:
        left, right = (prints[np.searchsorted(involved, side)] for side in (o.removed, o.witness))
        only = contrast.differ_only_in(left, right)
        disagree = table.label[o.removed] != table.label[o.witness]
        entries.append(
            {
                "threshold": o.threshold,
                "removed": len(o.removed),
                "share": round(len(o.removed) / max(1, rows), 6),
                "label_disagreements": int(disagree.sum()),
                "differ_only_in": {kind: int(hit.sum()) for kind, hit in only.items()},
                "exact_duplicates": o.exact,
                "kept": o.kept,
            }
        )
    return entries


def bands(table: Table, found: Sequence[Outcome], seed: int) -> list[dict]:
    """One entry for each band: its removals, a seeded sample of them with both texts, and the tokens they differ in."""
    inside = [band_of(o.similarity) == number for number, o in enumerate(found)]
    pairs = [np.column_stack([o.removed, o.witness])[i] for o, i in zip(found, inside, strict=True)]
    cosines = [o.similarity[i] for o, i in zip(found, inside, strict=True)]
    chosen = [_sample(p, np.random.default_rng([seed, number])) for number, p in enumerate(pairs)]
    texts = rowwise.fetch_texts(table, (r for p, c in zip(pairs, chosen, strict=True) for r in p[c].ravel().tolist()))
    tokens = _differing_tokens(table, pairs)

    def shown(row: int) -> dict[str, Any]:
        return {"id": table.row_id(row), "text": texts[row], "label": table.names[table.label[row]]}

    return [
        {
            "from": THRESHOLDS[number],
            "to": THRESHOLDS[number + 1] if number + 1 < len(THRESHOLDS) else None,
            "removed": len(pairs[number]),
            "examples": [
                {"similarity": round(float(cosines[number][i]), 6)}
                | {"removed": shown(int(pairs[number][i, 0])), "witness": shown(int(pairs[number][i, 1]))}
                for i in chosen[number]
            ],
            "tokens": tokens[number],
        }
        for number in range(len(found))
    ]


def _involved(found: Sequence[Outcome]) -> np.ndarray:
    return np.unique(np.concatenate([side for o in found for side in (o.removed, o.witness)]))


def _sample(pairs: np.ndarray, random: np.random.Generator) -> list[int]:
    """Places of a few removals, each of another witness first: one large template must not fill the sample."""
    order = random.permutation(len(pairs))
    first = np.sort(np.unique(pairs[order, 1], return_index=True)[1])
    rest = np.setdiff1d(np.arange(len(order)), first)
    return sorted(order[np.concatenate([first, rest])[:EXAMPLES]].tolist())


def _differing_tokens(table: Table, pairs: list[np.ndarray]) -> list[list[dict]]:
    """For each band the tokens that most removals have and their witness lacks, or the other way round.

    Tokens travel as hashes; only those that are listed are spelled out.
    """
    involved = np.unique(np.concatenate([p.ravel() for p in pairs]))
    shards = rowwise.start(table, involved, _token_rows, returns=3)
    flat = [ref for length, hashes, _ in shards for ref in (length, hashes)]
    starts, hashes = ray.remote(num_returns=2)(_together).remote(*flat)
    top = ray.remote(_most_frequent)
    places = [np.searchsorted(involved, p) for p in pairs]
    counted = ray.get([top.remote(starts, hashes, p[:, 0], p[:, 1]) for p in places])
    wanted = {token for band in counted for token, _ in band}
    spelled: dict[int, str] = {}
    for part in ray.get([ray.remote(_spelled).remote(tokens, wanted) for _, _, tokens in shards]):
        spelled |= part
    return [[{"token": spelled[token], "rows": rows} for token, rows in band] for band in counted]


def _token_rows(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """How many distinct tokens each text has, their hashes one text after the other, and the tokens by hash."""
    rows = [contrast.token_hashes(text) for text in texts]
    hashes = np.array([h for row in rows for h in row], np.int64)
    return np.array([len(row) for row in rows], np.int64), hashes, {h: t for row in rows for h, t in row.items()}


def _together(*flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each row's token hashes start, and the hashes of all shards one after the other."""
    none = np.empty(0, np.int64)
    return np.cumsum(np.concatenate([[0], *flat[::2]])), np.concatenate([none, *flat[1::2]])


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The numbers of all ranges, one after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())


def _most_frequent(starts: np.ndarray, hashes: np.ndarray, left: np.ndarray, right: np.ndarray) -> list[tuple]:
    """The (hash, pairs) of the tokens that are on one side only of most pairs; ties by hash."""
    tokens, counts = np.empty(0, np.int64), np.empty(0, np.int64)
    for first in range(0, len(left), _CHUNK):
        single = _one_sided(starts, hashes, left[first : first + _CHUNK], right[first : first + _CHUNK])
        tokens, inverse = np.unique(np.concatenate([tokens, single]), return_inverse=True)
        counts = np.bincount(inverse, np.concatenate([counts, np.ones(len(single))])).astype(np.int64)
    order = np.lexsort((tokens, -counts))[:TOKENS]
    return list(zip(tokens[order].tolist(), counts[order].tolist(), strict=True))


def _one_sided(starts: np.ndarray, hashes: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The token hash of each (pair, token) that only one row of the pair has."""
    rows = np.concatenate([left, right])
    lengths = starts[rows + 1] - starts[rows]
    pair = np.repeat(np.tile(np.arange(len(left)), 2), lengths)
    token = hashes[_ranges(starts[rows], lengths)]
    order = np.lexsort((token, pair))
    pair, token = pair[order], token[order]
    twin = (pair[1:] == pair[:-1]) & (token[1:] == token[:-1])
    return token[~(np.append(twin, False) | np.append(False, twin))]


def _spelled(tokens: dict[int, str], wanted: set[int]) -> dict[int, str]:
    return {h: tokens[h] for h in wanted & tokens.keys()}
