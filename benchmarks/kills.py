"""Does a training that is killed and resumed end with the weights of an undisturbed one?

    python benchmarks/kills.py [--kills 20] [--rows 1200] [--kills-of-a-training 4]

`raypipe train` of a small random encoder on docstrings, one CPU worker, float32, dropout on: once undisturbed, then
with a SIGKILL at a random moment of the training, of the driver's process group (then `--resume`) and of the training
worker (then Ray Train starts it again) in turn, several in one training. It compares SHA-256 of model.safetensors;
other weights end the script with an error.
"""

import contextlib
import csv
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from common import parser_for, raypipe_command, report
from results_file import save

from raypipe.demo import encoder_path, gather


def write_dataset(folder: Path, rows: int) -> None:
    """train.csv and test.csv of the demo's docstrings, of packages with ten texts or more."""
    gather(folder / "raw.jsonl", rows)
    by_label: dict[str, list[dict[str, str]]] = {}
    for line in (folder / "raw.jsonl").read_text(encoding="utf8").splitlines():
        row = json.loads(line)
        by_label.setdefault(row["package"], []).append({"text": row["text"], "label": row["package"]})
    kept = [group for group in by_label.values() if len(group) >= 10]
    for name, part in (("train", slice(1, None)), ("test", slice(0, 1))):
        with open(folder / f"{name}.csv", "w", encoding="utf8", newline="") as file:
            writer = csv.DictWriter(file, ["text", "label"], quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(row for group in kept for row in group[part])


def write_model(folder: Path) -> None:
    """A random BERT, 2 layers of 64, with a real tokenizer."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(encoder_path())
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def weights(out: Path) -> str:
    return hashlib.sha256((out / "model" / "model.safetensors").read_bytes()).hexdigest()


def training_worker(driver: int) -> psutil.Process | None:
    """The Ray Train worker that computes below a driver with a Ray of its own."""
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(driver).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "TrainWorker" in " ".join(process.cmdline()):
                    return process
    return None


class Run:
    """One command, its standard error in a file."""

    def __init__(self, words: list[str], log: Path) -> None:
        self._log = log
        with open(log, "w") as errors:
            self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True)

    def wait_for_worker(self) -> psutil.Process | None:
        """The training worker once it is there; None where the command ended first."""
        while self.process.poll() is None:
            if (worker := training_worker(self.process.pid)) is not None:
                return worker
            time.sleep(0.1)
        return None

    def kill_driver(self) -> None:
        family = psutil.Process(self.process.pid).children(recursive=True)
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        psutil.wait_procs(family, timeout=10)  # Ray's own processes end with their driver
        for left in family:
            with contextlib.suppress(psutil.Error):
                left.kill()

    def finish(self) -> None:
        """Wait for a good end."""
        if code := self.process.wait():
            raise SystemExit(f"exit code {code}: {self._log.read_text()[-3000:]}")


def one(words: list[str], out: Path, log: Path, plan: list[tuple[str, float]]) -> list[dict[str, Any]]:
    """Train through the planned kills (victim, seconds after its worker was seen); those that came before the end."""
    run, killed = Run(words, log), 0
    for victim, after_s in plan:
        worker = run.wait_for_worker()
        time.sleep(after_s)
        if worker is None or not worker.is_running() or run.process.poll() is not None:
            break
        if victim == "worker":
            worker.kill()
            psutil.wait_procs([worker], timeout=10)
        else:
            run.kill_driver()
            if (out / "run.json").exists():
                break
            run = Run([*words, "--resume"], log)
        killed += 1
    if run.process.poll() != -signal.SIGKILL:
        run.finish()
    after = {"sha256": weights(out)}
    return [{"victim": victim, "killed_after_s": round(s, 2), **after} for victim, s in plan[:killed]]


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rows", type=int, default=1200)
    parser.add_argument("--kills-of-a-training", type=int, default=4, help="one after the other, victims in turn")
    options = parser.parse_args()
    rng = random.Random(42)
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dataset(folder / "set", options.rows)
        write_model(folder / "encoder")
        out, log = folder / "out", folder / "log"
        words = raypipe_command("train", "--input-hf-dataset", str(folder / "set"), "--output-dir", str(out))
        words += ["--model-for-training-finetune", str(folder / "encoder"), "--device", "cpu", "--precision", "fp32"]
        words += ["--epochs", "6", "--learning-rate", "1e-3", "--num-cpus", "1", "--no-baselines"]
        words += ["--checkpoint-minutes", "0.03"]
        undisturbed = Run(words, log)
        worker, start = undisturbed.wait_for_worker(), time.perf_counter()
        assert worker is not None, "the training ended before its worker was seen"
        worker.wait()
        life_s = time.perf_counter() - start
        undisturbed.finish()
        expected = weights(out)
        while len(runs) < options.kills:
            shutil.rmtree(out)
            count = min(options.kills_of_a_training, options.kills - len(runs))
            victims = itertools.islice(itertools.cycle(("worker", "driver")), count)
            found = one(words, out, log, [(victim, rng.uniform(0, life_s / 2)) for victim in victims])
            runs += found
            for kill in found:
                report(kill)
                if kill["sha256"] != expected:
                    raise SystemExit(f"other weights than {expected}")
    verdict = f"{len(runs)} of {len(runs)} ended with the weights of the undisturbed run"
    save(
        options.name or "kills",
        {"data": {"docstrings": options.rows}, "verdict": verdict, "sha256": expected, "kills": runs},
    )


if __name__ == "__main__":
    main()
