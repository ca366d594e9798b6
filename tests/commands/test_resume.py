"""`train --resume` and the same `compare` go on with what was stopped or killed, to the same bits."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pyro_vae.commands.main import main
from pyro_vae.runs.folder import append_metrics, read_about
from pyro_vae.training.checkpoint_files import saved_epochs

SMALL = ["--latent-dim", "3", "--network", "MLP", "--network.hidden", "[8]", "--batch-size", "300"]
TRAIN = ["train", *SMALL, "--epochs", "5", "--kl-warmup", "2", "--checkpoint-minutes", "0"]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    main([*TRAIN, "--out", str(folder)])
    return folder


def content(folder):
    """Weights and metrics of a run, seconds aside."""
    entries = map(json.loads, Path(folder, "metrics.jsonl").read_text().splitlines())
    metrics = [{key: value for key, value in entry.items() if "seconds" not in key} for entry in entries]
    return Path(folder, "weights.safetensors").read_bytes(), metrics


def refused(capsys, *arguments, code=2):
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert stopped.value.code == code
    return capsys.readouterr().err


def stop_in(epoch, monkeypatch, *arguments, with_signal=None):
    """Give a command that is stopped when an epoch is over, before that one is saved."""

    def append(folder, metrics):
        append_metrics(folder, metrics)
        if metrics["epoch"] == epoch:
            if with_signal is None:
                raise KeyboardInterrupt
            os.kill(os.getpid(), with_signal)

    with monkeypatch.context() as patch:
        patch.setattr("pyro_vae.commands.train_run.append_metrics", append)
        with pytest.raises(SystemExit) as stopped:
            main(list(arguments))
    assert stopped.value.code == 130


def test_twenty_kills_at_random_moments_change_no_bit(tmp_path):
    script = Path(__file__).parent / "kills.py"
    done = subprocess.run([sys.executable, script, tmp_path, "20", "3"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1


def test_an_interrupt_says_how_to_go_on(undisturbed, monkeypatch, capsys):
    stop_in(3, monkeypatch, *TRAIN, "--out", "a", "--checkpoint-minutes", "60", "--tensorboard")
    said = "stopped; the best state so far is kept in a. Go on with: pyro-vae train --resume a"
    assert capsys.readouterr().err.strip() == said
    assert "Go on with it by pyro-vae train --resume a. Add --overwrite" in refused(capsys, *TRAIN, "--out", "a")
    assert "Expected --resume without --out" in refused(capsys, "train", "--resume", "a", "--out", "b")
    main(["train", "--resume", "a"])
    assert "resume after epoch 2 of 5" in capsys.readouterr().out
    assert content("a") == content(undisturbed)
    assert read_about(Path("a"))["finished"] is True
    assert not [*Path("a").rglob("checkpoint-*")]
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    read = events.EventAccumulator("a/tensorboard")
    read.Reload()
    assert [event.step for event in read.Scalars("loss")] == [4, 8, 12, 16, 20]
    main(["train", "--resume", "a"])
    assert "The training in a was finished after 5 epochs: there is nothing to do." in capsys.readouterr().out
    assert "--keep-checkpoint leaves it" in refused(capsys, "train", "--resume=a", "--epochs", "9")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_time_limit_or_a_closed_terminal_saves_too(undisturbed, monkeypatch, capsys, name):
    from pyro_vae.commands.process import STOPPING, stop_like_an_interrupt

    before = {number: signal.getsignal(number) for number in STOPPING}
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):  # under nohup one is ignored, which stays so
            signal.signal(number, signal.SIG_DFL)
        stop_like_an_interrupt()
        stop_in(2, monkeypatch, *TRAIN, "--out", "a", with_signal=getattr(signal, name))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    main(["train", "--resume", "a"])
    assert content("a") == content(undisturbed)


def test_an_old_run_stays_until_the_one_that_was_gone_on_with_is_whole(undisturbed, monkeypatch, capsys):
    main([*TRAIN, "--out", "a", "--seed", "7", "--epochs", "2"])
    old = content("a")
    stop_in(4, monkeypatch, *TRAIN, "--out", "a", "--overwrite")
    assert "the run in a stays as it was. Go on with: pyro-vae train --resume a" in capsys.readouterr().err
    stop_in(5, monkeypatch, "train", "--resume", "a")
    assert content("a") == old
    shutil.rmtree("a/unfinished/tensorboard", ignore_errors=True)
    main(["train", "--resume", "a"])
    assert content("a") == content(undisturbed)


def test_a_training_without_a_checkpoint_yet_begins_anew(undisturbed, monkeypatch, capsys):
    stop_in(3, monkeypatch, *TRAIN, "--out", "a")
    Path("b/unfinished").mkdir(parents=True)  # as a kill leaves it
    for name in ("README.txt", "settings.yaml"):
        shutil.copy(Path("a", name), Path("b", "unfinished" if name != "README.txt" else "", name))
    main(["train", "--resume", "b"])
    assert "resume from the start: no checkpoint" in capsys.readouterr().out
    assert content("b") == content(undisturbed)
    assert "which holds none" in refused(capsys, "train", "--resume", "nowhere")
    for path in Path("a").glob("checkpoint-*"):
        path.unlink()
    assert "Expected a checkpoint in a, to go on from; got none" in refused(capsys, "train", "--resume", "a")
    for path in Path("a").glob("[!R]*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "stopped before it had begun" in refused(capsys, "train", "--resume", "a")


def test_a_new_training_that_was_killed_at_once_leaves_the_checkpoint_of_the_run_before(undisturbed, capsys):
    """It begins anew, with its own settings: the checkpoint beside it is of other ones."""
    main([*TRAIN, "--out", "a", "--epochs", "2", "--seed", "7", "--keep-checkpoint"])
    Path("a/unfinished").mkdir()  # as a kill leaves it
    shutil.copy(undisturbed / "settings.yaml", "a/unfinished")
    main(["train", "--resume", "a"])
    assert "resume from the start: no checkpoint" in capsys.readouterr().out
    assert content("a") == content(undisturbed)


def test_what_is_kept_is_said_before_the_first_epoch_of_one_that_goes_on(monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    stop_in(3, monkeypatch, *TRAIN, "--out", "a")
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr("pyro_vae.commands.from_settings.fit", interrupt)
        said = refused(capsys, "train", "--resume", "a", code=130).strip()
    assert said.startswith("stopped before another epoch was over; what there was after epoch 2 is kept. Go on with: ")
    main(["train", "--resume", "a"])
    assert "resume after epoch 2 of 5" in capsys.readouterr().out


def test_other_settings_are_refused(monkeypatch, capsys):
    stop_in(4, monkeypatch, *TRAIN, "--out", "a")
    for options, text in {
        ("--latent-dim", "4"): "settings.latent_dim as in the checkpoint, 3; got 4",
        ("--learning-rate", "0.1"): "settings.learning_rate as in the checkpoint, 0.001; got 0.1",
        ("--data-seed", "1"): "data as in the checkpoint",
        ("--epochs", "2"): "Expected epochs >= 3",
    }.items():
        assert text in refused(capsys, "train", "--resume", "a", *options)
    assert saved_epochs(Path("a")) == [2, 3] == saved_epochs(Path("a/unfinished"))


def test_a_checkpoint_that_is_kept_goes_further(undisturbed, capsys):
    main([*TRAIN, "--out", "a", "--epochs", "3", "--keep-checkpoint"])
    assert saved_epochs(Path("a"))[-1] == 3
    main(["train", "--resume", "a", "--keep-checkpoint"])
    assert "finished after 3 epochs" in capsys.readouterr().out
    main(["evaluate", "a", "--num-images", "5", "--num-samples", "5"])
    main(["train", "--resume", "a", "--epochs", "5"])
    said = capsys.readouterr().out
    (gone,) = re.findall(r"removes (evaluation_\w+), of the state so far, when it ends", said)
    assert not [*Path("a").glob(f"{gone}*")]
    assert content("a") == content(undisturbed)
    assert not saved_epochs(Path("a"))
    main([*TRAIN, "--out", "b", "--epochs", "3", "--keep-checkpoint", "--learning-rate-decay", "cosine"])
    assert "T_max as in the checkpoint, 12; got 20" in refused(capsys, "train", "--resume", "b", "--epochs", "5")


@pytest.mark.filterwarnings("default:Expected a")
def test_a_damaged_checkpoint_is_said_and_the_one_before_used(undisturbed, monkeypatch, capsys):
    stop_in(4, monkeypatch, *TRAIN, "--out", "a")
    newest = Path("a/checkpoint-00000003.safetensors")
    newest.write_bytes(newest.read_bytes()[:-1])
    main(["train", "--resume", "a"])
    said = capsys.readouterr()
    assert "warning: Expected a/unfinished/checkpoint-00000003.safetensors as it was written" in said.err
    assert "resume after epoch 2 of 5" in said.out
    assert content("a") == content(undisturbed)


def test_a_full_disk_leaves_the_last_checkpoint(monkeypatch, capsys):
    stop_in(3, monkeypatch, *TRAIN, "--out", "a")

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert "Expected to write a" in refused(capsys, "train", "--resume", "a")
    assert saved_epochs(Path("a")) == [1, 2]
    main(["train", "--resume", "a"])


def test_the_same_comparison_goes_on_in_the_middle_of_a_training(monkeypatch, capsys):
    compare = ["compare", *SMALL, "--epochs", "3", "--priors", "StandardNormal", "LaplacePrior", "--seeds", "1"]
    compare += ["--num-samples", "5", "--num-images", "9", "--kl-warmup", "1", "--checkpoint-minutes", "0"]
    compare += ["--estimator", "guide"]
    main([*compare, "--out", "whole"])
    trained = []

    def append(folder, metrics):
        append_metrics(folder, metrics)
        trained.append(metrics["epoch"])
        if len(trained) == 5:  # the second epoch of the second candidate
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pyro_vae.commands.train_run.append_metrics", append)
        assert "the same command goes on from here" in refused(capsys, *compare, "--out", "a", code=130)
        assert trained == [1, 2, 3, 1, 2]
        assert "has others. Add --overwrite" in refused(capsys, *compare, "--out", "a", "--latent-dim", "2")
        main([*compare, "--out", "a"])
        assert trained == [1, 2, 3, 1, 2, 2, 3]
    for name in ("StandardNormal-seed0", "LaplacePrior-seed0"):
        assert content(Path("a/runs", name)) == content(Path("whole/runs", name))
        assert not [*Path("a/runs", name).rglob("checkpoint-*")]
    with contextlib.suppress(FileNotFoundError):
        assert not [*Path("a/runs/LaplacePrior-seed0/unfinished").iterdir()]


def test_a_second_process_is_refused(undisturbed, capsys):
    from pyro_vae.runs.new_folder import claimed

    with claimed("a", "run", overwrite=False):
        assert "Expected no other process writing the run in a" in refused(capsys, *TRAIN, "--out", "a")
    assert torch.get_num_threads() == 1
