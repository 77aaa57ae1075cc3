"""Two workers of gloo without Ray: they go on from a checkpoint as if nothing had happened, also with more or fewer."""

import dataclasses
import json
import os
import shutil
import socket
from pathlib import Path

import pytest
import torch
from test_loop import data, job, losses  # noqa: F401

from raypipe.train import loop
from raypipe.train.recipe import Recipe


def worker(rank, world, port, trainings):
    """One process: several trainings one after the other, each into its folder."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WANDB_MODE": "disabled"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world)
    for work, tables, folder, resume in trainings:
        run(work, tables, Path(folder), resume, rank, world)
    torch.distributed.destroy_process_group()


def run(work, tables, folder, resume=None, rank=0, world=1):
    """A training that keeps every checkpoint, of all workers in one folder, as Ray Train does."""

    def report(made):
        shutil.copytree(made, folder / made.rsplit("-", 1)[1], dirs_exist_ok=True)
        shutil.rmtree(made)

    for name in ("out", "scratch"):
        (folder / f"{name}-{rank}").mkdir(parents=True)
    out, scratch = str(folder / f"out-{rank}"), str(folder / f"scratch-{rank}")
    outcome = loop.fine_tune(work, *tables, out, scratch, rank, world, report, resume)
    if rank == 0:
        (folder / "outcome.json").write_text(json.dumps(outcome))
    return outcome


def by_two(*trainings):
    """The outcomes of trainings by two workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(worker, (2, port, trainings), nprocs=2)
    return [json.loads(Path(folder, "outcome.json").read_text()) for *_, folder, _ in trainings]


def test_after_a_kill_each_loss_is_that_of_the_undisturbed_run(tiny_model, still_model, data, tmp_path):  # noqa: F811
    """With dropout and two workers as before to 1e-6; without it, from one worker to two and back, to rounding."""
    threads = torch.get_num_threads()
    dropped = job(tiny_model, recipe=Recipe(1e-3, 2, 16))
    still = dataclasses.replace(job(still_model, recipe=Recipe(1e-3, 2, 16)), most_workers=2)
    alone = run(still, data, tmp_path / "alone")
    shuffled, together = by_two((dropped, data, tmp_path / "a", None), (still, data, tmp_path / "b", None))
    step = str(sorted(map(int, (p.name for p in (tmp_path / "a").iterdir() if p.name.isdigit())))[3])
    again, grown = by_two(
        (dropped, data, tmp_path / "c", str(tmp_path / "a" / step)),
        (still, data, tmp_path / "d", str(tmp_path / "alone" / step)),
    )
    shrunk = run(still, data, tmp_path / "e", resume=str(tmp_path / "b" / step))
    torch.set_num_threads(threads)
    for found, whole, tolerance in (
        (again, shuffled, 1e-6),
        (grown, alone, 1e-5),
        (grown, together, 1e-5),
        (shrunk, alone, 1e-5),
    ):
        mine, theirs = losses(found), losses(whole)
        assert mine.keys() == theirs.keys() and sum(at > int(step) for at in mine) >= 8
        for at, (loss, norm) in theirs.items():
            assert mine[at][0] == pytest.approx(loss, abs=tolerance), at
            assert mine[at][1] == pytest.approx(norm, rel=1e-3), at
    assert losses(shuffled) != losses(alone), "dropout does something"
