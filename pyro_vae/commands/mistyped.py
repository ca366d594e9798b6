"""Mistyped options, noticed before torch is imported: by the words that the sources of a command's options hold."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..arguments.by_option import by_option
from ..arguments.unknown_options import unknown_options

LIBRARY = Path(__file__).parents[1]


def refuse_unknown(words: Sequence[str], command: Path) -> None:
    """Raise ValueError if an option is none of a command.

    That is only so far as can be told without the classes that a command line chooses, whose options have a dot; the
    parser of the command sees the rest.

    Args:
        words: of the command line.
        command: the file of the command.
    """
    constants = _words(command)
    wrong = [
        group for group in by_option(words) if group[0].startswith("--") and not _may_be_known(group[0], constants)
    ]
    if wrong:
        options = sorted(word for word in constants if word.startswith("--"))
        raise ValueError(unknown_options(" ".join(word for group in wrong for word in group), options))


def _may_be_known(option: str, constants: frozenset[str]) -> bool:
    """Whether the sources hold the name of an option, as it is typed or as that of a setting."""
    name = option.partition("=")[0].removesuffix("+")
    return "." in name or bool({name, name[2:], name[2:].replace("-", "_")} & constants) or name == "--"


@functools.cache
def _words(command: Path) -> frozenset[str]:
    """All strings, and names of arguments, in what the ``parse`` of a command reaches: from definition to definition by
    their names, from file to file by imports."""
    todo, seen, found = [(command, "parse"), (LIBRARY / "runs" / "parser.py", "Parser")], set(), {"--help"}
    while todo:
        file, name = place = todo.pop()
        if place in seen:
            continue
        seen.add(place)
        if not name:  # a whole room, whose functions have options as arguments
            arguments = [
                each.arg
                for module in file.parent.glob("*.py")
                for node in _parsed(module).body
                if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
                for each in node.args.kwonlyargs
            ]
            found |= {f"--{argument.replace('_', '-')}" for argument in arguments}
            continue
        for statement in _parsed(file).body:
            if isinstance(statement, ast.ImportFrom):
                todo += [
                    place
                    for alias in statement.names
                    if (alias.asname or alias.name) == name
                    for place in _imported(file, statement, alias.name)
                ]
            elif name in _defined(statement):
                nodes = [*ast.walk(statement)]
                found |= {
                    node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)
                }
                found |= {node.arg for node in nodes if isinstance(node, ast.arg)}
                todo += [(file, node.id) for node in nodes if isinstance(node, ast.Name)]
    return frozenset(found)


@functools.cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _defined(statement: ast.stmt) -> set[str]:
    """The names that a statement of a module defines."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _imported(file: Path, statement: ast.ImportFrom, name: str) -> Iterator[tuple[Path, str]]:
    """Where a name is defined that is imported from this library; without a name, a whole room."""
    if statement.level:
        folder = file.parent if statement.level == 1 else LIBRARY
        path = folder.joinpath(*(statement.module or "").split("."))
        if path.with_suffix(".py").is_file():
            yield path.with_suffix(".py"), name
        elif (path / name / "__init__.py").is_file():
            yield path / name / "__init__.py", ""
