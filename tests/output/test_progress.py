"""Progress is seen wherever the output goes: a terminal, a notebook, a log file."""

import io
import sys
import time

import pytest

from pyro_vae.output import log_level, progress
from pyro_vae.output.log_level import said_if_slow, saying_no_more_than
from pyro_vae.output.progress import begun_at, expect, progress_bar


def work(bar):
    with bar:
        bar.set_description("epoch 2")
        for _ in range(4):
            bar.update(5)


def lines_of(monkeypatch, capsys, *dones, total=20, begun=0):
    """What a log file gets if a line is due after each of these numbers of units, a second apart."""
    clock = iter(range(1000, 2000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(progress.threading.Thread, "start", lambda self: None)  # lines are asked for here
    monkeypatch.setattr(progress.threading.Thread, "join", lambda self: None)
    with progress_bar(total, unit="step", shown=True) as bar:
        begun_at(bar, begun)
        bar.set_description("epoch 2")
        for done in dones:
            bar.update(done)
            bar.say()
    return capsys.readouterr().err.splitlines()


def test_a_log_file_gets_speed_and_time_left(monkeypatch, capsys):
    assert lines_of(monkeypatch, capsys, 4, 6) == [
        "epoch 2: 4 of 20 steps, 1 s, 4 steps/s, 4 s left",
        "epoch 2: 10 of 20 steps, 2 s, 6 steps/s, 2 s left",
    ]


def test_compiling_and_earlier_work_tell_nothing_of_the_speed(monkeypatch, capsys):
    compiling = lines_of(monkeypatch, capsys, 2, 0, 0, 8)
    assert compiling[1] == "epoch 2: 2 of 20 steps, 2 s"
    assert compiling[3] == "epoch 2: 10 of 20 steps, 4 s, 8 steps/s, 1 s left"
    assert lines_of(monkeypatch, capsys, 5, total=110, begun=100) == [
        "epoch 2: 105 of 110 steps, 1 s, 5 steps/s, 1 s left"
    ]


def test_a_line_says_no_total_that_is_not_known(monkeypatch, capsys):
    assert lines_of(monkeypatch, capsys, 4, total=None) == ["epoch 2: 4 steps, 1 s, 4 steps/s"]


def test_a_line_comes_while_a_single_unit_takes_long_and_the_last_one_says_the_end(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PATIENCE", 0.05)
    monkeypatch.setattr(progress, "BETWEEN", 0.1)
    with progress_bar(20, unit="step", shown=True) as bar:
        bar.set_description("compiling")
        bar.speaker.join(0.3)
        first = capsys.readouterr().err
        bar.update(20)
    assert first == "compiling: 0 of 20 steps, 0 s\n"
    assert capsys.readouterr().err.startswith("compiling: 20 of 20 steps, 0 s, ")
    monkeypatch.setattr(progress, "PATIENCE", 60.0)
    monkeypatch.setattr(progress, "BETWEEN", 60.0)
    work(progress_bar(20, unit="step", shown=True))
    assert capsys.readouterr().err == ""  # what is short says nothing


def test_a_terminal_sees_a_bar_of_what_takes_longer_than_two_seconds(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for patience, seen in ((60.0, False), (0.0, True)):
        monkeypatch.setattr(progress, "PATIENCE", patience)
        with progress_bar(20, unit="step", shown=True) as bar:
            bar.mininterval = 0.0
            expect(bar, 30)
            bar.update(15)
        assert ("15/30" in capsys.readouterr().err) == seen


def test_a_log_level_silences_it(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    with saying_no_more_than("warning"), progress_bar(20, unit="step", shown=True) as bar:
        bar.update(20)
    with saying_no_more_than("warning"), said_if_slow("loading"):
        pass
    assert capsys.readouterr().err == ""


def test_what_is_slow_is_said(monkeypatch, capsys):
    monkeypatch.setattr(log_level, "PATIENCE", 0.01)
    with said_if_slow("loading"):
        time.sleep(0.1)
    assert capsys.readouterr().err == "loading\n"
    monkeypatch.setattr(log_level, "PATIENCE", 60.0)
    with said_if_slow("loading"):
        pass
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self):
        return True


class OutStream(io.StringIO):
    """As a notebook's: it is no terminal to all that asks."""


OutStream.__module__ = "ipykernel.iostream"


@pytest.mark.parametrize("kind", [Terminal, OutStream])
def test_a_bar_on_a_terminal_and_in_a_notebook(monkeypatch, kind):
    shown = kind()
    monkeypatch.setattr(sys, "stderr", shown)
    work(progress_bar(20, unit="step", shown=True))
    assert "epoch 2" in shown.getvalue()
    assert "/20" in shown.getvalue()
    before = shown.getvalue()
    work(progress_bar(20, unit="step", shown=False))
    assert shown.getvalue() == before
