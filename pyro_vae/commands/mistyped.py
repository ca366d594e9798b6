"""Mistyped options, noticed before torch is imported: by the words that the sources of options hold."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

from ..arguments.unknown_options import unknown_options


def refuse_unknown(words: Sequence[str], folder: Path = Path(__file__).parent) -> None:
    """Raise ValueError if an option is none of any command.

    That is only so far as can be told without the classes that a command line chooses, whose options have a dot; the
    parser of the command sees the rest.

    Args:
        words: of the command line.
        folder: of the commands.
    """
    library = Path(__file__).parents[1]  # options are made in runs, those of estimators from their arguments
    constants = _words(folder, library / "runs", library / "evidence")
    groups: list[list[str]] = []
    for word in words:
        if word.startswith("--") or not groups:
            groups.append([word])
        else:
            groups[-1].append(word)
    wrong = [group for group in groups if group[0].startswith("--") and not _may_be_known(group[0], constants)]
    if wrong:
        options = sorted(word for word in constants if word.startswith("--"))
        raise ValueError(unknown_options(" ".join(word for group in wrong for word in group), options))


def _may_be_known(option: str, constants: set[str]) -> bool:
    """Whether the sources hold the name of an option, as it is typed or as that of a setting."""
    name = option.partition("=")[0].removesuffix("+")
    return "." in name or bool({name, name[2:], name[2:].replace("-", "_")} & constants) or name == "--"


def _words(*folders: Path) -> set[str]:
    """All strings, and names of arguments, in the sources of some folders."""
    files = [file for folder in folders for file in folder.glob("*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    strings = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return strings | {node.arg for node in nodes if isinstance(node, ast.arg)}
