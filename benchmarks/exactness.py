"""Are the pairs and the whole result of prepare what brute force in float64 says?

    python benchmarks/exactness.py --data ../shared/data [--sets banking77 hwu64] [--thresholds 0.7 0.8 0.9 1.0]
    python benchmarks/exactness.py --input FOLDER --file raw.jsonl --text utterance --label intent --thresholds 0.8

For every set, threshold and analyzer: the pairs of core.similarity against all cosines of scikit-learn's vectors, and
every line of `_train`, `_test` and `_removed` (ids, labels, weights, reasons, witnesses, similarities to six digits)
against sklearn_script.py, which multiplies all rows. Anything that differs ends the script with an error.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import sklearn_script
from common import parser_for, report, vectorise
from results_file import save
from sklearn.feature_extraction.text import TfidfVectorizer

from raypipe import PrepareConfig, pipeline
from raypipe.core import similarity
from raypipe.core.tfidf import Analyzer

SETS = {"banking77": ("raw.jsonl", "utterance", "intent"), "hwu64": ("raw.jsonl", "text", "label")}
ANALYZERS = (Analyzer(), Analyzer("char_wb", (3, 5)))
BLOCK_ROWS = 4000  # several blocks of these sets, so that rows meet across blocks too


def check_pairs(X: Any, pairs: tuple[np.ndarray, ...], threshold: float) -> float:
    """core.similarity on our own vectors lists these pairs and no others; returns the largest difference of cosines."""
    ours = similarity.self_join(X, threshold)
    order = np.lexsort((ours.right, ours.left))
    assert np.array_equal(ours.left[order], pairs[0]) and np.array_equal(ours.right[order], pairs[1]), "other pairs"
    return float(np.abs(ours.cosine[order] - pairs[2]).max(initial=0.0))


def check_rows(outputs: dict[str, str], wanted: dict[str, list[dict]]) -> None:
    """Every line of the three files."""
    for kind, rows in wanted.items():
        found = [json.loads(line) for line in Path(outputs[kind]).read_text(encoding="utf8").split("\n")[:-1]]
        for mine, judged in zip(found, rows, strict=False):
            shown = {k: v for k, v in mine.items() if k != "text"}, {k: v for k, v in judged.items() if k != "text"}
            assert mine == judged, f"{kind}: {shown[0]} is {shown[1]} by brute force"
        assert len(found) == len(rows), f"{kind}: {len(found)} rows, {len(rows)} by brute force"


def check(folder: str, file: str, text: str, label: str, thresholds: list[float]) -> list[dict[str, Any]]:
    """One set with every analyzer and threshold."""
    rows = sklearn_script.read(str(Path(folder, file)), text, label)
    texts = [row.text for row in rows]
    checked = []
    for analyzer in ANALYZERS:
        vectorizer = TfidfVectorizer(analyzer=analyzer.kind, ngram_range=analyzer.ngram_range)
        all_pairs = sklearn_script.similar(vectorizer.fit_transform(texts), min(thresholds))
        X = vectorise(texts, analyzer)
        for threshold in thresholds:
            pairs = tuple(p[all_pairs[2] >= threshold - 1e-9] for p in all_pairs)
            worst = check_pairs(X, pairs, threshold)
            with tempfile.TemporaryDirectory() as out:
                config = PrepareConfig(
                    input_dir=folder,
                    input_filename=file,
                    output_filename=f"{out}/set.jsonl",
                    text=text,
                    subject=label,
                    similarity_threshold=threshold,
                    block_rows=BLOCK_ROWS,
                    analyzer=analyzer.kind,
                    ngram_range=analyzer.ngram_range,
                )
                result = pipeline.prepare(config)
                wanted = sklearn_script.decide(rows, pairs, config.test_fraction, config.seed)
                check_rows(result.outputs, wanted)
                seconds = json.loads(Path(result.outputs["report"]).read_text())["seconds"]
            checked.append(
                {
                    "set": Path(folder).name,
                    "analyzer": f"{analyzer.kind} {analyzer.ngram_range}",
                    "threshold": threshold,
                    "pairs": len(pairs[0]),
                    "largest_difference_of_cosines": worst,
                    "identical_rows": {kind: len(lines) for kind, lines in wanted.items()},
                    "seconds": seconds,
                }
            )
            report(checked[-1])
    return checked


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--data", type=Path, help="folder of the known sets")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.7, 0.8, 0.9, 1.0])
    for flag in ("input", "file", "text", "label"):
        parser.add_argument(f"--{flag}", help="instead of --data: one JSONL file")
    options = parser.parse_args()
    if options.input:
        cases = [(options.input, options.file, options.text, options.label)]
    elif options.data:
        cases = [(str(options.data / name), *SETS[name]) for name in options.sets]
    else:
        parser.error("--data or --input")
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    results = [line for case in cases for line in check(*case, options.thresholds)]
    save(options.name or "exactness", {"verdict": "identical", "checked": results})


if __name__ == "__main__":
    main()
