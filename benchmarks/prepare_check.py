"""prepare on a JSONL file, its ledger judged by brute force in scikit-learn, and the seconds of its stages.

python benchmarks/prepare_check.py --input FOLDER --file raw.jsonl --text utterance --label intent --threshold 0.8
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from results_file import save
from sklearn.feature_extraction.text import TfidfVectorizer

from raypipe import PrepareConfig, pipeline

BLOCK = 1000  # rows of one dense block of cosines


def lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf8").split("\n")[:-1]


def judge(rows: list[dict[str, Any]], text: str, outputs: dict[str, str], threshold: float) -> dict[str, float]:
    """Compare kept rows, witnesses and similarities with all cosines in float64; returns what was checked."""
    X = TfidfVectorizer().fit_transform([row[text] for row in rows])
    place = {}
    for split in ("train", "test"):
        place |= {int(json.loads(line)["id"].rsplit(":", 1)[1]) - 1: split for line in lines(outputs[split])}
    kept = np.array(sorted(place))
    largest = 0.0
    for start in range(0, len(kept), BLOCK):
        S = (X[kept[start : start + BLOCK]] @ X[kept].T).toarray()
        S[np.arange(len(S)), start + np.arange(len(S))] = 0
        largest = max(largest, float(S.max()))
    assert largest < threshold - 1e-9, "two kept rows are too close"
    witnessed, worst = 0, 0.0
    for line in lines(outputs["removed"]):
        entry = json.loads(line)
        row, witness = (int(entry[key].rsplit(":", 1)[1]) - 1 for key in ("id", "witness_id"))
        assert witness in place and witness < row, "a witness is not an earlier kept row"
        earlier = kept[kept < row]
        cosines = (X[earlier] @ X[row].T).toarray().ravel()
        if "exact" not in (entry["reason"], entry["detail"] or "") and entry["reason"] != "exact_duplicate":
            assert np.round(cosines.max(), 9) == np.round(cosines[np.searchsorted(earlier, witness)], 9), (
                "not the nearest"
            )
            worst = max(worst, abs(entry["similarity"] - cosines.max()))
        witnessed += 1
    return {
        "kept": len(kept),
        "largest_cosine_among_kept": largest,
        "witnesses_checked": witnessed,
        "largest_difference_of_similarity": worst,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for flag in ("input", "file", "text", "label"):
        parser.add_argument(f"--{flag}", required=True)
    parser.add_argument("--threshold", type=float, default=0.8)
    options = parser.parse_args()
    rows = [json.loads(line) for line in Path(options.input, options.file).read_text().split("\n") if line]
    with tempfile.TemporaryDirectory() as folder:
        result = pipeline.prepare(
            PrepareConfig(
                input_dir=options.input,
                input_filename=options.file,
                output_filename=f"{folder}/set.jsonl",
                text=options.text,
                subject=options.label,
                similarity_threshold=options.threshold,
            )
        )
        checked = judge(rows, options.text, result.outputs, options.threshold)
        seconds = json.loads(Path(result.outputs["report"]).read_text())["seconds"]
    name = Path(options.input).name
    save(
        f"prepare-{name}",
        {
            "dataset": name,
            "threshold": options.threshold,
            "counts": result.counts,
            "seconds": seconds,
            "checked": checked,
        },
    )


if __name__ == "__main__":
    main()
