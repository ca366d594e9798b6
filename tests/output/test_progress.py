"""Progress is seen wherever the output goes: a terminal, a notebook, a log file."""

import io
import sys

import pytest

from pyro_vae.output import progress
from pyro_vae.output.progress import progress_bar


def work(bar):
    with bar:
        bar.set_description("epoch 2")
        for _ in range(4):
            bar.update(5)


def test_a_log_file_gets_a_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    work(progress_bar(20, unit="step", shown=True))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("epoch 2: 5 of 20 steps, ")
    assert lines[-1].startswith("epoch 2: 20 of 20 steps, ")
    assert not any("\r" in line for line in lines)
    monkeypatch.setattr(progress, "SECONDS", 60.0)
    work(progress_bar(20, unit="step", shown=True))
    assert capsys.readouterr().err == ""  # what is short says nothing


def test_a_line_says_no_total_that_is_not_known(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    work(progress_bar(None, unit="sample", shown=True))
    assert capsys.readouterr().err.splitlines()[-1].startswith("epoch 2: 20 samples, ")


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
