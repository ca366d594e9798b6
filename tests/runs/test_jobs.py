"""Calls in other processes: their results, what they find there, and what becomes of those whose process dies."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch

from pyro_vae.output.progress import progress_bar
from pyro_vae.runs import jobs
from pyro_vae.runs.jobs import Died, Surroundings, in_processes

ENDS = "__import__('os')._exit(3)"


def results(calls, *, backend="loky", number=2):
    """What comes of expressions, evaluated in other processes: any function will do that can be imported there."""
    with warnings.catch_warnings(), progress_bar(len(calls), unit="call", shown=False) as bar:
        # Clients of clusters leave sockets and loops to be collected.
        warnings.filterwarnings("ignore", category=ResourceWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        named = {name: (text,) for name, text in calls.items()}
        return dict(in_processes(eval, named, jobs=number, backend=backend, bar=bar))


@pytest.mark.parametrize("backend", ["loky", "dask", "ray"])
def test_each_call_is_made_once_in_the_folder_of_the_command(backend, tmp_path, monkeypatch):
    if backend in jobs.PACKAGES:
        pytest.importorskip(jobs.PACKAGES[backend])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pyro-vae", "compare"])
    threads = torch.get_num_threads()
    once = "(open('{0}', 'x').close(), __import__('os').getpid(), __import__('sys').argv)[1:]"
    found = results({name: once.format(name) for name in "abc"}, backend=backend)
    assert sorted(found) == ["a", "b", "c"] == sorted(path.name for path in tmp_path.iterdir())
    assert {tuple(words) for _, words in found.values()} == {("pyro-vae", "compare")}
    assert os.getpid() not in {process for process, _ in found.values()}
    assert torch.get_num_threads() == threads


def test_who_dies_is_named_and_the_others_are_not_lost(recwarn):
    found = results({"a": "1 + 1", "dies": ENDS, "told": "__import__('warnings').warn('a word') or 2", "b": "3"})
    assert isinstance(died := found.pop("dies"), Died)
    assert died.reason.startswith("its process died: TerminatedWorkerError")
    assert found == {"a": 2, "told": 2, "b": 3}
    assert [str(each.message) for each in recwarn] == ["a word"]


def test_no_process_stays_when_nobody_wants_the_rest(tmp_path):
    write = f"open(r'{tmp_path}/{{0}}', 'w').write(str(__import__('os').getpid())) and __import__('time').sleep({{1}})"
    calls = {name: (write.format(name, seconds),) for name, seconds in {"a": 0, "b": 60}.items()}
    with progress_bar(2, unit="call", shown=False) as bar:
        found = in_processes(eval, calls, jobs=2, backend="loky", bar=bar)
        assert next(found) == ("a", None)
        found.close()
    until(lambda: not any(is_running(int(path.read_text())) for path in tmp_path.iterdir()))


def test_errors_of_files_and_missing_packages_end_all(monkeypatch):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        results({"a": "open('nowhere')"})
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"Expected distributed for --backend dask; .* pip install distributed"):
        results({"a": "1"}, backend="dask")


def test_threads_are_shared_out_and_put_back(tmp_path):
    before = torch.get_num_threads(), sys.argv, sys.path, Path.cwd()
    with Surroundings(["a"], str(tmp_path), ["b"], before[0] + 1, None).here():
        assert (torch.get_num_threads(), sys.argv, sys.path, Path.cwd()) == (before[0] + 1, ["a"], ["b"], tmp_path)
    assert (torch.get_num_threads(), sys.argv, sys.path, Path.cwd()) == before


def test_a_process_ends_with_the_one_that_asked(tmp_path):
    """Also after a kill, which leaves no time to say so: else what it holds would stay locked."""
    code = (
        "import os, sys, time; from pyro_vae.runs.jobs import _end_with\n"
        "if child := os.fork():\n    open('pid', 'w').write(str(child)); time.sleep(60)\n"
        "_end_with(os.getppid()); open('watches', 'w').close(); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    until(lambda: (tmp_path / "watches").exists() and (tmp_path / "pid").read_text())
    child = int((tmp_path / "pid").read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: not is_running(child))


def until(happened, seconds=60):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
