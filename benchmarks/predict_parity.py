"""Are the predictions those of a plain float32 loop, whatever the actors, blocks and passes, and after a kill?

    python benchmarks/predict_parity.py [--rows 10000]

`evaluate` in float32 on distinct texts with MiniLM under a random head, in one Ray of two CPUs: one and two actors,
passes of 256 to 8,192 tokens, blocks of 500 to 16,384 rows, and once with an actor killed in mid-way (SIGKILL). Each is
compared with one row at a time in plain PyTorch. Lost, doubled or misplaced rows, and scores that differ by more than
1e-4, end the script with an error; so do other first labels where the loop's first two scores are 1e-5 apart.
"""

import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import corpus
import numpy as np
import psutil
from classifiers import plain_loop, write_minilm, write_rows
from common import parser_for, report
from results_file import save

MAX_LENGTH = 128
CASES = (  # actors, tokens of a pass, most rows of a block, an actor killed
    (1, 1_024, 16_384, False),
    (1, 256, 500, False),
    (1, 8_192, 4_096, False),
    (2, 1_024, 2_048, False),
    (2, 4_096, 700, False),
    (2, 1_024, 500, True),
)


def kill_an_actor(work: Path, killed: list[int]) -> None:
    """SIGKILL one once three blocks are scored; notes how many were."""
    while not killed:
        done = len(list(work.glob("*/fp32/*.arrow")))
        for process in psutil.process_iter(["cmdline"]) if done >= 3 else ():
            if "MapWorker(MapBatches(Predictor))" in " ".join(process.info["cmdline"] or []):
                process.kill()
                killed.append(done)
                return
        time.sleep(0.05)


def compare(path: Path, texts: list[str], scores: np.ndarray) -> dict[str, Any]:
    """What the predictions have other than the loop's scores  # (rows, classes)."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]
    in_place = [row["id"] for row in rows] == [f"rows.jsonl:{n}" for n in range(1, len(texts) + 1)]
    in_place = in_place and [row["text"] for row in rows] == texts
    labels = np.array([[int(p["label"].split()[-1]) for p in row["predictions"]] for row in rows])
    got = np.array([[p["score"] for p in row["predictions"]] for row in rows])
    ranked = np.sort(scores, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 1e-5
    return {
        "rows": len(rows),
        "each_once_in_order": in_place,
        "other_first_labels": int((labels[:, 0] != scores.argmax(axis=1))[clear].sum()),
        "ties_left_out": int((~clear).sum()),
        "largest_score_difference": float(np.abs(got - np.take_along_axis(scores, labels, axis=1)).max()),
    }


def case(folder: Path, model: str, number: int, values: tuple[int, int, int, bool], rows: int) -> dict[str, Any]:
    from raypipe import EvaluateConfig, pipeline
    from raypipe.evaluate import actors

    count, actors.CPU_TOKENS, block_rows, is_killed = values
    actors.ROWS_OF_AN_ACTOR = -(-rows // count)
    killed: list[int] = []
    if is_killed:
        work = folder / f".p{number}.work"
        threading.Thread(target=kill_an_actor, args=(work, killed), daemon=True).start()
    pipeline.evaluate(
        EvaluateConfig(
            model=model,
            input_dir=str(folder),
            filename="rows.jsonl",
            output_classify_file=str(folder / f"p{number}.jsonl"),
            max_length=MAX_LENGTH,
            eval_batch_size=block_rows,
            device="cpu",
            precision="fp32",
        )
    )
    flags = dict(zip(("actors", "tokens_of_a_pass", "block_rows", "killed"), values, strict=True))
    return flags | {"blocks_done_at_the_kill": killed[0] if killed else None}


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    options = parser.parse_args()
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    import ray

    from raypipe.runtime import quiet_data

    entries = corpus.first_sentences(options.rows)
    texts = [entry.text for entry in entries]
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="WARNING")
    quiet_data()
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = write_minilm(folder / "model")
        write_rows(folder / "rows.jsonl", texts)
        scores = plain_loop(model, texts, MAX_LENGTH)
        for number, values in enumerate(CASES):
            seen = case(folder, model, number, values, len(texts))
            found.append(seen | compare(folder / f"p{number}.jsonl", texts, scores))
            report(found[-1])
    ray.shutdown()
    save(options.name or "predict-parity", {"data": corpus.describe(entries), "cases": found})
    for seen in found:
        good = seen["each_once_in_order"] and not seen["other_first_labels"] and seen["rows"] == len(texts)
        if (
            not good
            or seen["largest_score_difference"] > 1e-4
            or (seen["killed"] and not seen["blocks_done_at_the_kill"])
        ):
            raise SystemExit(f"other than the plain loop: {seen}")


if __name__ == "__main__":
    main()
