"""The command line: ``pyro-vae train | evaluate | diagnose | compare``, and pictures of a run."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from ..runs.options import named
from ..runs.parser import Parser, fail
from ..training import NonFiniteLoss
from ..version import __version__
from . import compare, diagnose, evaluate, interpolate, manifold, reconstruct, sample, train, traverse
from .process import lasting_streams, stop_like_an_interrupt

COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "diagnose": diagnose,
    "compare": compare,
    "sample": sample,
    "reconstruct": reconstruct,
    "traverse": traverse,
    "interpolate": interpolate,
    "manifold": manifold,
}


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next tensor instead of returning it to the system each time.

    Where getting it back is slow (virtual machines above all), page faults otherwise cost several times the arithmetic.
    Done by the command line alone, which owns its process; without glibc nothing happens.
    """
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, 2**30)
        mallopt(trim_threshold, 2**31 - 1)


def command() -> None:
    """The command ``pyro-vae``: `main` in a process of its own, left without taking apart all that torch has loaded.

    That takes a second or two where something was compiled. What must happen at the end, does: exit handlers run, and
    the output is written.
    """
    streams = lasting_streams()
    stop_like_an_interrupt()
    main()
    atexit._run_exitfuncs()
    for stream in streams:
        stream.flush()
    os._exit(int(any(stream.lost for stream in streams)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with code 2 and one line on standard error if the input is wrong."""
    keep_freed_memory()
    arguments = [named(word) for word in (sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    if "" not in sys.path:
        sys.path.insert(0, "")  # a user's own classes, by import path from the working directory
    try:
        parser = Parser(
            prog="pyro-vae",
            description="Deep latent-variable models in Pyro, with log p(x) and its error.",
            version=__version__,
        )
        subcommands = parser.add_subcommands(dest="command", metavar="COMMAND", title="commands")
        for name, module in COMMANDS.items():
            subparser = Parser(description=module.run.__doc__)
            if arguments[0] == name:  # the options of the others take a second to look up
                module.add_options(subparser, arguments)
            subcommands.add_subcommand(name, subparser, help=module.run.__doc__)
        chosen = parser.parse_args(arguments)
        with warnings.catch_warnings():
            warnings.showwarning = _shown_once()
            COMMANDS[chosen.command].run(chosen[chosen.command])
    except (ValueError, OSError, ImportError, NonFiniteLoss) as error:
        fail(_one_line(error))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:  # out of a user's own class, or a fault of ours: the traceback is for who wants it
        if os.environ.get("PYRO_VAE_TRACEBACK"):
            raise
        fail(f"{type(error).__name__}: {_one_line(error)} Set PYRO_VAE_TRACEBACK=1 to see where.")


def _one_line(error: Exception) -> str:
    """The message, without the table of shapes that Pyro appends."""
    return " ".join(str(error).split("Trace Shapes")[0].split())


def _shown_once() -> Callable[..., None]:
    """Warnings on one line, each text once: a comparison would say the same for every run."""
    seen: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in seen:
            print(f"pyro-vae: warning: {message}", file=sys.stderr)
        seen.add(str(message))

    return show
