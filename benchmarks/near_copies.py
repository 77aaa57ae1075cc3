"""How many test rows of a dataset's own split repeat a training row, and what a baseline scores with and without them.

python benchmarks/near_copies.py --dataset FOLDER --label category
"""

import argparse
from pathlib import Path

import numpy as np
from results_file import save

from raypipe import splits
from raypipe.core.intervals import wilson
from raypipe.evaluate.baseline import baselines
from raypipe.evaluate.near_copies import DEFAULT_THRESHOLD, has_near_copy
from raypipe.schema import LABEL, TEXT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="label")
    parser.add_argument("--threshold", type=float, default=DEFAULT_THRESHOLD)
    parser.add_argument("--name", help="name of the result file, such as a trial's")
    options = parser.parse_args()
    data = splits.load(options.dataset, options.text, options.label, None)
    train, test = data.train[TEXT].to_list(), data.test[TEXT].to_list()
    near = has_near_copy(train, test, options.threshold)
    codes = {label: code for code, label in enumerate(data.labels)}
    ranked = baselines(train, data.train[LABEL].map(codes).to_numpy(), test, seed=42, kept=1)["tfidf_logreg"]
    correct = ranked[:, 0] == data.test[LABEL].map(codes).to_numpy()
    parts = {"all": np.ones(len(test), bool), "with": near, "without": ~near}
    name = Path(options.dataset).name
    measured = {
        "dataset": name,
        "fingerprint": data.fingerprint(),
        "threshold": options.threshold,
        "rows": {part: int(rows.sum()) for part, rows in parts.items()},
        "tfidf_logreg_top1": {
            part: wilson(int(correct[rows].sum()), int(rows.sum()))._asdict() for part, rows in parts.items()
        },
    }
    save(options.name or f"near-copies-{name}", measured)


if __name__ == "__main__":
    main()
