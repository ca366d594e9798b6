"""A command outlives its output, and saves what it has when it is told to stop."""

import math
import os
import signal

import pytest

from pyro_vae.commands import evaluate, process, train_run
from pyro_vae.commands.main import main
from pyro_vae.commands.process import STOPPING, Lasting, end_undisturbed, stop_like_an_interrupt, uninterrupted
from pyro_vae.runs.folder import is_finished

TINY = ["--data", "digits", "--epochs", "1", "--num-train", "50", "--latent-dim", "2", "--network.hidden", "[4]"]


@pytest.mark.parametrize("buffering", [1, -1])
def test_a_stream_outlives_its_reader(buffering):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", buffering=buffering) as file:
        stream = Lasting(file)
        for _ in range(3):
            print("x" * 1000, file=stream, flush=True)
            assert stream.lost
        assert stream.isatty() is False


def test_a_full_disk_and_no_stream_at_all_are_no_errors():
    with open("/dev/full", "w") as file:
        stream = Lasting(file)
        print("text", file=stream, flush=True)
        assert stream.lost
    stream = Lasting(None)
    print("text", file=stream, flush=True)
    assert not stream.lost
    stream.stream.close()


@pytest.fixture
def told(monkeypatch):
    """Signals as the command line takes them; as before afterwards."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    monkeypatch.setattr(process, "_last", [-math.inf])
    for number in STOPPING:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    try:
        stop_like_an_interrupt()
        yield signal.raise_signal
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("number", STOPPING)
def test_being_told_to_stop_is_an_interrupt(monkeypatch, told, number):
    monkeypatch.setattr("pyro_vae.commands.sample.run", lambda _: told(number))
    with pytest.raises(SystemExit) as stopped:
        main(["sample", "anything"])
    assert stopped.value.code == 130


def test_what_is_ignored_stays_so(told):  # under nohup
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop_like_an_interrupt()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize("first", STOPPING)
def test_once_is_enough(monkeypatch, told, first):
    with pytest.raises(KeyboardInterrupt):
        told(first)
    for number in [*STOPPING, *STOPPING]:
        told(number)
    stop_like_an_interrupt()
    told(signal.SIGTERM)
    monkeypatch.setattr(process, "_last", [process._last[0] - 2 * process.SECONDS])
    with pytest.raises(KeyboardInterrupt):
        told(signal.SIGINT)  # later, and meant


@pytest.mark.parametrize("number", STOPPING)
def test_an_interrupt_waits_for_what_is_worth_it(told, number):
    done = []

    def save():
        with uninterrupted("it is saved"):
            told(number)
            told(number)
            done.append("saved")

    with pytest.raises(KeyboardInterrupt, match="it is saved"):
        save()
    assert done
    told(signal.SIGTERM)


@pytest.mark.parametrize("number", STOPPING)
def test_afterwards_an_interrupt_is_one_again(told, number):
    with uninterrupted(""):
        pass
    with pytest.raises(KeyboardInterrupt):
        told(number)


def test_exit_handlers_are_not_interrupted(told):
    end_undisturbed()
    told(signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL


@pytest.mark.parametrize("number", STOPPING)
def test_a_training_told_to_stop_while_its_run_is_saved_leaves_it_whole(monkeypatch, capsys, tmp_path, told, number):
    save = train_run.save_weights

    def save_weights(*arguments):
        told(number)
        save(*arguments)

    monkeypatch.setattr(train_run, "save_weights", save_weights)
    with pytest.raises(SystemExit) as stopped:
        main(["train", *TINY, "--out", str(tmp_path / "run")])
    assert stopped.value.code == 130
    assert "was over, and is saved" in capsys.readouterr().err
    assert (tmp_path / "run" / "training.png").exists()
    assert is_finished(tmp_path / "run")


def test_an_evaluation_told_to_stop_while_it_is_saved_is_whole(monkeypatch, capsys, tmp_path, told):
    main(["train", *TINY, "--out", str(tmp_path / "run")])
    draw = evaluate.draw
    monkeypatch.setattr(evaluate, "draw", lambda *arguments: (told(signal.SIGTERM), draw(*arguments)))
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", str(tmp_path / "run"), "--num-images", "3", "--num-samples", "10"])
    assert stopped.value.code == 130
    assert "is finished, and saved" in capsys.readouterr().err
    assert (tmp_path / "run" / "evaluation_auto_10x3of300.png").exists()
