"""The command line: ``pyro-vae train | evaluate | diagnose | compare``, and pictures of a run.

Nothing large is imported before it is known which command is meant.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import functools
import importlib
import os
import sys
import textwrap
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from ..arguments.nearest import did_you_mean
from ..disk.writing import CURES
from ..output.log_level import OPTION, is_said, level_among, said_if_slow, saying_no_more_than
from ..version import __version__
from .atexit_private import run_exit_handlers
from .mistyped import refuse_unknown
from .process import end_undisturbed, lasting_streams, stop_like_an_interrupt


@functools.cache
def commands() -> dict[str, str]:
    """The commands by name, each with its help: files of this folder that define ``run``, read and not imported."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body):
            found[file.stem.replace("_", "-")] = ast.get_docstring(tree) or ""
    return found


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
    try:
        main()
    finally:
        for stream in streams:
            stream.flush()
        end_undisturbed()
    run_exit_handlers()
    for stream in streams:
        stream.flush()
    os._exit(int(any(stream.lost for stream in streams)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with code 2 and one line on standard error if the input is wrong."""
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    with saying_no_more_than(level_among(words)):
        _answer(words)


def _answer(words: Sequence[str]) -> None:
    try:
        if not words or words[0] in ("-h", "--help"):
            print(usage())
        elif words[0] == "--version":
            print(f"pyro-vae {__version__}")
        else:
            _run(*words)
    except KeyboardInterrupt as interrupt:
        if text := interrupt.args[0] if interrupt.args else "interrupted":
            print(f"\n{text}", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        fail(error)


def usage() -> str:
    """What ``pyro-vae --help`` prints."""
    about = "Deep latent-variable models in Pyro, with log p(x) and its error."
    lines = ["usage: pyro-vae COMMAND [OPTIONS]", "", about]
    for name, text in commands().items():
        lines += ["", *textwrap.wrap(text, 100, initial_indent=f"  {name:<17}", subsequent_indent=" " * 19)]
    return "\n".join([*lines, "", "pyro-vae COMMAND --help lists its options; pyro-vae --version says the version."])


def _run(name: str, *arguments: str) -> None:
    known = commands()
    if name not in known:
        kind = "option" if name.startswith("-") else "command"
        near = did_you_mean(name, ["--help", "--version"] if kind == "option" else known)
        raise ValueError(f"Expected one of the commands {', '.join(known)}; got the {kind} {name}.{near}")
    refuse_unknown(arguments, Path(__file__).parent / f"{name.replace('-', '_')}.py")
    keep_freed_memory()
    with warnings.catch_warnings():
        if not is_said("debug"):
            warnings.showwarning = _shown_once()
        with said_if_slow(f"pyro-vae {name}: loading torch and Pyro"):
            module = importlib.import_module(f"{__package__}.{name.replace('-', '_')}")
            from ..runs.parser import Parser

        chosen = module.parse(Parser(f"pyro-vae {name}", known[name]), arguments)
        from ..runs.own_classes import trusting

        with trusting(bool(chosen.get("trust"))):
            module.run(chosen)


def fail(error: Exception) -> NoReturn:
    """Say an error on one line, without the table of shapes that Pyro appends, and exit with code 2.

    One that is neither ours nor usual comes out of a user's class or is a fault here: its traceback is there on demand.
    """
    text = " ".join(str(error).split("Trace Shapes")[0].split())
    is_ours = type(error).__module__.startswith("pyro_vae.") or text.startswith("Expected ")
    if is_said("debug"):
        raise error
    if isinstance(error, OSError) and error.errno is not None:  # of the system, not a sentence yet
        where = error.filename or "a file or a connection"
        text = f"Expected to read or write {where}; got an error: {error.strerror}.{CURES.get(error.errno, '')}"
    if not (isinstance(error, (ValueError, OSError, ImportError)) or is_ours):
        text = f"{type(error).__name__}: {text} Add {OPTION} debug to see where."
    print(f"pyro-vae: error: {text}", file=sys.stderr)
    sys.exit(2)


def _shown_once() -> Callable[..., None]:
    """Warnings on one line, each text once: a comparison would say the same for every run."""
    seen: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in seen and is_said("warning"):
            print(f"pyro-vae: warning: {message}", file=sys.stderr)
        seen.add(str(message))

    return show
