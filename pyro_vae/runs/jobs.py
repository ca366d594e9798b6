"""Calls that run in several processes, of this machine or of a cluster, by joblib."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from ..output.progress import Progress

Backend = Literal["loky", "dask", "ray"]
PACKAGES = {"dask": "distributed", "ray": "ray"}  # that a backend needs beside joblib

K = TypeVar("K")
R = TypeVar("R")


@dataclass(frozen=True)
class Died:
    """In the place of a result: the process of a call ended before it had one, twice.

    Attributes:
        reason: what is known of it.
    """

    reason: str


@dataclass(frozen=True)
class Surroundings:
    """What a call finds in its process as it was in the process that asked for it.

    Attributes:
        arguments: the command line.
        folder: that relative paths start from.
        path: where modules are looked for.
        threads: for torch; None leaves as many as the cluster gives.
        parent: number of the process that the call ends with; None where the backend sees to that.
    """

    arguments: list[str]
    folder: str
    path: list[str]
    threads: int | None
    parent: int | None

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Surroundings while the block runs; as before afterwards."""
        before = sys.argv, sys.path
        sys.argv, sys.path = self.arguments, [*self.path]
        try:
            with contextlib.chdir(self.folder), threads(self.threads):
                yield
        finally:
            sys.argv, sys.path = before


@contextlib.contextmanager
def threads(count: int | None) -> Iterator[None]:
    """So many threads for torch, if it has been imported: what is called here has done so if it wants it."""
    torch = sys.modules.get("torch")
    if torch is None or count is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_processes(
    function: Callable[..., R], calls: Mapping[K, tuple[Any, ...]], *, jobs: int, backend: Backend, bar: Progress
) -> Generator[tuple[K, R | Died]]:
    """The results of calls that run side by side, in the order in which they come (from Ray: at the end).

    A process that dies, as the system ends one that takes too much memory, takes those beside it along. Then the calls
    that were running are made once more, each alone: the one whose process dies again is the culprit. So a call must go
    on from what an earlier one has left.

    Args:
        function: that can be imported; called with the arguments of each call.
        calls: arguments by the name of the call; all can be pickled.
        jobs: calls at a time. A cluster of your own says itself how many.
        bar: shows how many are done.
        backend: of joblib. "loky" are processes of this machine. "dask" is the cluster whose address Dask's
            configuration has (DASK_SCHEDULER_ADDRESS), "ray" the one that RAY_ADDRESS names; else processes of this
            machine. All machines must see the same files.

    Raises:
        ImportError: the backend is not installed.
        OSError: a call raises one.
    """
    import torch

    left = dict(calls)
    with _running(backend, jobs) as theirs:
        threads = None if theirs else max(1, torch.get_num_threads() // jobs)
        parent = os.getpid() if backend == "loky" else None
        around = Surroundings(sys.argv, os.getcwd(), [*sys.path], threads, parent)
        while left:
            try:
                with contextlib.closing(_side_by_side(function, left, around, jobs, backend, bar)) as results:
                    for key, result in results:
                        del left[key]
                        yield key, result
            except OSError:
                raise
            except Exception:
                for key in [*left][:jobs]:
                    yield key, _alone(function, left.pop(key), around, backend, bar)


def _alone(
    function: Callable[..., R], call: tuple[Any, ...], around: Surroundings, backend: Backend, bar: Progress
) -> R | Died:
    try:
        ((_, result),) = _side_by_side(function, {0: call}, around, 2, backend, bar)  # 1 would be this process
    except OSError:
        raise
    except Exception as error:
        return Died(" ".join(f"its process died: {type(error).__name__}: {error}".split())[:300])
    return result


def _side_by_side(
    function: Callable[..., R],
    calls: Mapping[K, tuple[Any, ...]],
    around: Surroundings,
    jobs: int,
    backend: Backend,
    bar: Progress,
) -> Generator[tuple[K, R]]:
    """Results as they come; what the calls warn of is warned of here."""
    import joblib

    as_they_come = "list" if backend == "ray" else "generator_unordered"  # which Ray's backend does not know
    with joblib.parallel_config(backend=backend, n_jobs=jobs):
        parallel = joblib.Parallel(return_as=as_they_come, pre_dispatch="n_jobs", batch_size=1)
        parallel.print_progress = bar.update  # called when one is done, whatever the backend
        found: Iterable[tuple[K, R, list[Any]]] = parallel(
            joblib.delayed(_call)(around, key, function, call) for key, call in [*calls.items()]
        )
        try:
            for key, result, warned in found:
                for text, category in warned:
                    warnings.warn(text, category, stacklevel=3)
                yield key, result
        finally:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".* tasks which were still being processed")
                if isinstance(found, Generator):
                    found.close()


def _call(around: Surroundings, key: K, function: Callable[..., R], call: tuple[Any, ...]) -> tuple[K, R, list[Any]]:
    """In the other process."""
    if around.parent is not None:
        _end_with(around.parent)
    with around.here(), warnings.catch_warnings(record=True) as warned:
        result = function(*call)
    return key, result, [(str(each.message), each.category) for each in warned]


_watched: list[int] = []  # processes that this one ends with


def _end_with(parent: int) -> None:
    """End this process when the one that asked has ended, also by a kill: nobody would take what comes of the call, and
    what it holds stays locked."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    if parent not in _watched:
        _watched.append(parent)
        threading.Thread(target=watch, daemon=True).start()


def _running(backend: Backend, jobs: int) -> contextlib.AbstractContextManager[bool]:
    """Processes for a backend, ended afterwards where they were started here; whether they are a cluster of others."""
    if (package := PACKAGES.get(backend)) is not None:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ImportError(
                f"Expected {package} for --backend {backend}; it is not installed: pip install {package}."
            ) from error
    return {"loky": _loky, "dask": _dask, "ray": _ray}[backend](jobs)


@contextlib.contextmanager
def _loky(jobs: int) -> Iterator[bool]:
    from joblib.externals.loky import get_reusable_executor

    done = False
    try:
        yield False
        done = True
    finally:
        get_reusable_executor().shutdown(wait=True, kill_workers=not done)


@contextlib.contextmanager
def _dask(jobs: int) -> Iterator[bool]:
    import dask
    from distributed import Client

    theirs = bool(dask.config.get("scheduler-address", None))
    local: dict[str, Any] = {"n_workers": jobs, "threads_per_worker": 1, "memory_limit": 0}
    local |= {"dashboard_address": None, "silence_logs": logging.ERROR}
    with Client(**({} if theirs else local)):
        yield theirs


@contextlib.contextmanager
def _ray(jobs: int) -> Iterator[bool]:
    import ray
    from ray.util.joblib import register_ray

    register_ray()
    theirs, begun = bool(os.environ.get("RAY_ADDRESS")), not ray.is_initialized()
    if begun:
        ray.init(log_to_driver=False, logging_level="error", **({} if theirs else {"num_cpus": jobs}))
    try:
        yield theirs or not begun
    finally:
        if begun:
            ray.shutdown()
