"""Accuracy on a dataset's own train/test split, beside the baselines, with wall time.

python benchmarks/official_split.py --dataset FOLDER --label category --model FOLDER_OR_HUB_NAME
"""

import argparse
import json
import tempfile
from pathlib import Path

from results_file import save

from raypipe import TrainConfig, pipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--label", default="label")
    parser.add_argument("--model", required=True)
    parser.add_argument("--name", help="name of the result file, such as a trial's")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = pipeline.train(
            TrainConfig(
                input_hf_dataset=options.dataset,
                subject_column=options.label,
                model_for_training_finetune=options.model,
                device="cpu",
                output_dir=folder,
            )
        )
        run = json.loads(Path(folder, "run.json").read_text())
    kept = ("recipe", "rows", "validation", "workers", "seconds", "seed")
    name = Path(options.dataset).name
    measured = {"dataset": name, "fingerprint": run["dataset"]["fingerprint"], "parameters": run["model"]["parameters"]}
    save(
        options.name or f"official-split-{name}",
        measured | {key: run[key] for key in kept} | {"metrics": result.metrics},
    )


if __name__ == "__main__":
    main()
