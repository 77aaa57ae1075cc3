"""Millions of rows from real sentences, with what makes large sets hard: see ``Recipe``. Streaming and seeded.

python benchmarks/scale_corpus.py --rows 1000000 --output out/scale/1000000.jsonl
"""

import argparse
import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import corpus

WORD = re.compile(r"(?u)\b\w\w+\b")  # scikit-learn's default token
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
COMMON = [
    "the",
    "and",
    "for",
    "with",
    "this",
    "that",
    "from",
    "can",
    "will",
    "are",
    "not",
    "all",
    "any",
    "when",
    "which",
]
GREETINGS = (
    "Hello, thank you very much for taking the time to write to us today.",
    "Dear customer, we have received your message and are happy to help you with it.",
    "Good morning, I hope that this message finds you and your team well.",
)
SIGNATURES = (
    "Please do not hesitate to contact us again. Kind regards, your support team",
    "Many thanks in advance and best wishes, sent from the service desk on behalf of the department",
    "This message is confidential and meant for its addressee only. Yours sincerely, the help desk",
)
SAMPLED = 20  # one row in so many counts for the document frequencies that the planted cosines are estimated with


@dataclass(frozen=True)
class Recipe:
    """What the rows are made of; shares of all rows."""

    least_words: int = 60
    longest_sentence: int = 30  # words, so that a row has at most least_words + 30 or so
    boilerplate: float = 0.5  # rows with a greeting and a signature, of three each
    templates: float = 0.05  # rows of 40 templates with three slots of a few words
    planted: float = 0.005  # near-duplicates of a row anywhere before, one to three common words changed
    identifiers: float = 0.3  # rows with a term of their own, such as a ticket number
    first_sentences: int = 50_000  # sentences to draw from at the start; one more for every second row
    labels: int = 50
    seed: int = 42


class Planted(NamedTuple):
    line: int
    of: int
    text: str
    original: str


def generate(path: Path, rows: int, recipe: Recipe) -> dict[str, Any]:
    """Write the rows; returns what is in them, the planted lines with their estimated cosines among it."""
    rng = random.Random(recipe.seed)
    pool = sentences(recipe.longest_sentence)
    rng.shuffle(pool)
    templates = [_template(rng, pool, recipe.least_words) for _ in range(40)]
    bases: list[tuple[int, str, str]] = []
    planted: list[Planted] = []
    frequency: Counter[str] = Counter()
    words = templated = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf8") as out:
        for line in range(1, rows + 1):
            kind = rng.random()
            label = f"class {rng.randrange(recipe.labels):02d}"
            if kind < recipe.planted and bases:
                of, original, label = rng.choice(bases)  # the same label
                text = _edited(rng, original)
                planted.append(Planted(line, of, text, original))
            elif kind < recipe.planted + recipe.templates:
                text, templated = _filled(rng, rng.choice(templates), pool), templated + 1
            else:
                text = _ordinary(rng, pool, recipe, line)
                if rng.random() < 2 * recipe.planted:
                    bases.append((line, text, label))
            out.write(json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n")
            words += text.count(" ") + 1
            if line % SAMPLED == 0:
                frequency.update(set(WORD.findall(text.lower())))
    cosines = {p.line: _cosine(p, frequency, rows) for p in planted}
    return {
        "recipe": asdict(recipe),
        "source": "sentences of " + corpus.SOURCE,
        "rows": rows,
        "mean_words": round(words / rows, 1),
        "bytes": path.stat().st_size,
        "sentences_in_the_pool": len(pool),
        "sentences_at_the_end": min(len(pool), recipe.first_sentences + rows // 2),
        "template_rows": templated,
        "planted": {p.line: (p.of, cosines[p.line]) for p in planted},
    }


def sentences(longest: int) -> list[str]:
    """Distinct sentences of 6 words or more from the whole corpus, in its order."""
    return list(dict.fromkeys(s for t in corpus.load() for s in _cut(t.text) if 6 <= s.count(" ") + 1 <= longest))


def _cut(text: str) -> Iterator[str]:
    return (" ".join(part.split()) for part in SENTENCE_END.split(text))


def _ordinary(rng: random.Random, pool: list[str], recipe: Recipe, line: int) -> str:
    around = (rng.choice(GREETINGS), rng.choice(SIGNATURES)) if rng.random() < recipe.boilerplate else ()
    open_now = min(len(pool), recipe.first_sentences + line // 2)
    parts = [f"Ticket {rng.getrandbits(40):010x}."] if rng.random() < recipe.identifiers else []
    words = sum(part.count(" ") + 1 for part in (*parts, *around))
    while words < recipe.least_words:
        parts.append(pool[int(rng.random() * open_now)])
        words += parts[-1].count(" ") + 1
    return " ".join((around[0], *parts, around[1]) if around else parts)


def _template(rng: random.Random, pool: list[str], least_words: int) -> list[str]:
    """Texts around three slots."""
    parts = [rng.choice(pool[:50_000]) for _ in range(3)]
    while sum(part.count(" ") + 1 for part in parts) < least_words - 6:
        parts[rng.randrange(3)] += " " + rng.choice(pool[:50_000])
    return parts


def _filled(rng: random.Random, template: list[str], pool: list[str]) -> str:
    slots = (" ".join(rng.choice(pool[:2000]).split()[:2]) for _ in range(3))
    return " ".join(word for part, slot in zip(template, slots, strict=True) for word in (part, slot))


def _edited(rng: random.Random, text: str) -> str:
    """The text without up to three of its common words, and with as many others."""
    words = text.split(" ")
    for _ in range(rng.randint(1, 3)):
        if places := [i for i, word in enumerate(words) if word in COMMON]:
            del words[rng.choice(places)]
        words.insert(rng.randrange(len(words)), rng.choice(COMMON))
    return " ".join(words)


def _cosine(planted: Planted, frequency: Counter[str], rows: int) -> float:
    """TF-IDF cosine with document frequencies of a sample, which knows the common words that the two differ in."""
    counts = [Counter(WORD.findall(text.lower())) for text in (planted.original, planted.text)]
    idf = {term: math.log((1 + rows) / (1 + max(1, SAMPLED * frequency[term]))) + 1 for c in counts for term in c}
    x, y = ({term: n * idf[term] for term, n in c.items()} for c in counts)
    dot = sum(value * y.get(term, 0) for term, value in x.items())
    return round(dot / math.sqrt(sum(v * v for v in x.values()) * sum(v * v for v in y.values())), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    made = generate(options.output, options.rows, Recipe())
    cosines = [cosine for _, cosine in made.pop("planted").values()]
    print(json.dumps(made | {"planted": len(cosines), "least_planted_cosine": min(cosines, default=None)}, indent=1))


if __name__ == "__main__":
    main()
