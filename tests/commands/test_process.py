"""A command outlives its output, and saves what it has when it is told to stop."""

import os
import signal

import pytest

from pyro_vae.commands.main import main
from pyro_vae.commands.process import Lasting, stop_like_an_interrupt


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


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_being_told_to_stop_is_an_interrupt(monkeypatch, capsys, name):
    number, before = getattr(signal, name), {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(number, signal.SIG_DFL)
        stop_like_an_interrupt()
        monkeypatch.setattr("pyro_vae.commands.sample.run", lambda _: signal.raise_signal(number))
        with pytest.raises(SystemExit) as stopped:
            main(["sample", "anything"])
        assert stopped.value.code == 130
        assert signal.getsignal(number) is signal.SIG_IGN
        stop_like_an_interrupt()
        assert signal.getsignal(number) is signal.SIG_IGN  # as under nohup
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
