"""`torchrun -m pyro_vae train` and `evaluate`: the numbers of one process, and what becomes of a process that dies."""

import json
import math
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import ended, started

from pyro_vae.commands import train_run
from pyro_vae.commands.main import main

TRAIN = ["train", "--latent-dim", "3", "--network", "MLP", "--network.hidden", "[8]", "--batch-size", "300"]
TRAIN += ["--epochs", "4", "--kl-warmup", "2", "--checkpoint-minutes", "0", "--learning-rate-decay", "cosine"]
EVALUATE = ["--num-images", "9", "--num-samples", "20"]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train_run, "save_figure", lambda *_: None)
    torch.optim.AdamW([torch.zeros(1)])  # brings torch's compiler once for all processes that are forked


def metrics(folder):
    return [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]


def close(mine, theirs):
    assert [entry.keys() for entry in mine] == [entry.keys() for entry in theirs]
    for one, other in zip(mine, theirs, strict=True):
        assert all(math.isclose(one[key], other[key], rel_tol=1e-5) for key in one if "seconds" not in key)


@pytest.mark.filterwarnings("default:This training began with processes")
def test_a_process_that_dies_ends_all_and_any_number_goes_on():
    main([*TRAIN, "--out", "one"])
    fit = sys.modules["pyro_vae.training.fit"]
    train_epoch = fit.train_epoch

    def dying(rank):
        def in_epoch(epoch, *args, **options):
            if rank == 1 and epoch == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return train_epoch(epoch, *args, **options)

        fit.train_epoch = in_epoch
        main([*TRAIN, "--out", "a"])

    assert [ended(process) for process in started(Path(), 2, dying)] == [2, -signal.SIGKILL]
    *said, last = Path("0.txt").read_text().splitlines()
    assert said[1].endswith("on cpu, in 2 processes")
    assert last.startswith("pyro-vae: error: Expected all processes of the training until its end; one has ended")
    assert last.endswith("Go on with: pyro-vae train --resume a")
    assert Path("1.txt").read_text() == ""

    shutil.copytree("a", "b")
    assert [ended(process) for process in started(Path(), 3, lambda _: main(["train", "--resume", "a"]))] == [0, 0, 0]
    assert "resume after epoch 2 of 4" in Path("0.txt").read_text()
    assert "began with processes 2 and goes on with 3" in Path("0.txt").read_text()
    assert [Path(f"{rank}.txt").read_text() for rank in (1, 2)] == ["", ""]
    main(["train", "--resume", "b"])
    close(metrics("one"), metrics("a"))
    close(metrics("one"), metrics("b"))
    about = json.loads(Path("a/run.json").read_text())
    assert (about["finished"], about["processes"]) == (True, 3)
    shutil.copytree("a", "c")
    main(["evaluate", "a", *EVALUATE])
    codes = [ended(process) for process in started(Path(), 2, lambda _: main(["evaluate", "c", *EVALUATE]))]
    assert codes == [0, 0]
    ((one, two),) = zip(Path("a").glob("evaluation*.npz"), Path("c").glob("evaluation*.npz"), strict=True)
    with np.load(one) as mine, np.load(two) as theirs:
        assert np.array_equal(mine["log_prob"], theirs["log_prob"])


def test_what_is_refused_is_said_once():
    main([*TRAIN, "--out", "a", "--epochs", "1", "--kl-warmup", "0"])
    codes = [ended(process) for process in started(Path(), 2, lambda _: main([*TRAIN, "--out", "a"]))]
    assert codes == [2, 1]  # the second is not told to end: it has lost the first
    assert "Expected a folder without results" in Path("0.txt").read_text().splitlines()[-1]
    assert Path("1.txt").read_text() == ""
