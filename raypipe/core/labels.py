"""Labels that look like two spellings of one, and pairs of labels that conflict: proposals, never applied."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

# A sign before a number is part of it: -1 and 1 are two labels. So is what stands between two digits: 1.0 is not 10.
_SIGN = re.compile(r"(?<!\w)[-−](?=\d)")
_BETWEEN_DIGITS = re.compile(r"(?<=\d)[\W_]+(?=\d)")
_CONTENT = frozenset("#%&@\x01\x02")  # punctuation to Unicode, but C# is not C


def fold(label: str) -> str:
    """What is left of a label without case, spaces, underscores and punctuation; the label itself if that is nothing.

    Symbols stay (C and C++, < 5 and > 5).
    """
    folded = unicodedata.normalize("NFKC", label).casefold().strip()
    folded = _BETWEEN_DIGITS.sub("\x02", _SIGN.sub("\x01", folded))
    kept = (c for c in folded if c in _CONTENT or unicodedata.category(c)[0] in "LMNS")
    return "".join(kept) or label


def spellings(sizes: Mapping[str, int]) -> list[dict[str, int]]:
    """Groups of labels that fold to the same, each with its rows, largest first; ties by code point.

    The groups come by their rows too. Labels without rows take no part.
    """
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for label, rows in sizes.items():
        if rows:
            groups[fold(label)].append(label)
    sorted_groups = [sorted(group, key=lambda label: (-sizes[label], label)) for group in groups.values()]
    several = [{label: int(sizes[label]) for label in group} for group in sorted_groups if len(group) > 1]
    return sorted(several, key=lambda group: (-sum(group.values()), list(group)))


def conflicting(first: np.ndarray, second: np.ndarray) -> list[tuple[int, int, int]]:
    """Unordered pairs of label codes and how often they meet, most frequent first, from one entry per conflict."""
    pairs = np.sort(np.column_stack([first, second]).astype(np.int64), axis=1)
    unique, counts = np.unique(pairs, axis=0, return_counts=True)
    order = np.lexsort((unique[:, 1], unique[:, 0], -counts))
    return [(int(a), int(b), int(n)) for (a, b), n in zip(unique[order], counts[order], strict=True)]
