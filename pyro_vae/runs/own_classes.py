"""Classes of the user's own in a run: a copy of their source lies in its folder, imported only with consent."""

from __future__ import annotations

import ast
import contextlib
import importlib.machinery
import importlib.util
import re
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from ..disk.reading import read_whole
from ..disk.writing import written_whole
from .folder import read_about, read_checked
from .imports import look_in_working_directory
from .new_folder import COPY

_trusted: ContextVar[bool] = ContextVar("_trusted", default=False)


@contextlib.contextmanager
def trusting(consent: bool) -> Iterator[None]:
    """Inside, the copies in run folders may be imported, which runs their code."""
    token = _trusted.set(consent)
    try:
        yield
    finally:
        _trusted.reset(token)


def copy_sources(folder: Path, paths: Iterable[str]) -> None:
    """Copy the files that define classes into the folder of a run, and those of the same place that they import.

    Args:
        folder: of the run.
        paths: of classes, ``package.module.Name``; what is installed is not copied, and names without a dot are ours.
    """
    waiting = [path.rpartition(".")[0] for path in paths if "." in path]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        module = sys.modules.get(name)
        if name in seen or module is None or (file := _own_file(module)) is None:
            continue
        seen.add(name)
        content = read_whole(file, limit=None)
        stem = f"{name}.__init__" if file.stem == "__init__" else name
        with written_whole(folder / f"source.{stem}.py") as copy:
            copy.write(content)
        package = name if file.stem == "__init__" else name.rpartition(".")[0]
        waiting += [name.rpartition(".")[0], *_imported(content, package)]


def _own_file(module: ModuleType) -> Path | None:
    """The file of a module that is neither installed nor of the standard library."""
    file = getattr(module, "__file__", None)
    known = (sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib"))
    installed = [*known, *site.getsitepackages(), site.getusersitepackages()]
    ours = Path(__file__).parent.parent
    if file is None or not file.endswith(".py") or ours in Path(file).parents:
        return None
    path = Path(file)
    return None if {path.parent, *path.parents} & {Path(place) for place in installed if place} else path


def _imported(content: bytes, package: str) -> Iterator[str]:
    """Names that may be modules, of all imports in a file of a package."""
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


@contextlib.contextmanager
def own_classes(folder: Path) -> Iterator[None]:
    """Inside, the classes of a run are those that it was trained with.

    Where the files that they come from are found as they were, these are imported, as usual. Else the copies in the
    run are, if that is `trusting`; they stand in for modules of the same names, which come back afterwards.

    Raises:
        ValueError: the files are not there, or were changed, and there is no consent.
    """
    copies = {match["module"]: name for name in read_about(folder)["files"] if (match := COPY.fullmatch(name))}
    changed = [name for name in copies.values() if read_checked(folder, name) != _present(COPY.fullmatch(name))]
    if not changed:
        yield
        return
    if not _trusted.get():
        file = f"{COPY.fullmatch(changed[0])['module'].replace('.', '/')}.py"  # type: ignore[index]
        raise ValueError(
            f"Expected {file} as it was when {folder} was trained, in the working directory or on PYTHONPATH; it is "
            f"not there, or was changed. The run keeps a copy: look at {folder / changed[0]}, and import it by --trust "
            f"(load(..., trust=True)), which runs its code. Or put the file back."
        )
    tops = {module.partition(".")[0] for module in copies}
    finder = _Copies({module: folder / name for module, name in copies.items()})
    before, writes = _taken_out(tops), sys.dont_write_bytecode
    sys.meta_path.insert(0, finder)
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes
        sys.meta_path.remove(finder)
        _taken_out(tops)
        sys.modules.update(before)


def _present(match: re.Match[str] | None) -> bytes | None:
    """The content of the file that a module would be imported from, or has been."""
    assert match is not None
    name = match["module"].removesuffix(".__init__")
    look_in_working_directory()
    try:
        spec = sys.modules[name].__spec__ if name in sys.modules else importlib.util.find_spec(name)
        origin = None if spec is None else spec.origin
        return None if origin is None else read_whole(Path(origin), limit=None)
    except Exception:  # whatever the package around it raises when it is imported
        return None


def _taken_out(tops: set[str]) -> dict[str, Any]:
    """The modules below these top-level names, no longer among those that are imported."""
    names = [name for name in sys.modules if name.partition(".")[0] in tops]
    return {name: sys.modules.pop(name) for name in names}


class _Copies(MetaPathFinder):
    """Finds modules among the copies in a run; of packages without a copy, their place alone."""

    def __init__(self, files: dict[str, Path]) -> None:
        self.files = files

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        for name in (fullname, f"{fullname}.__init__"):
            if name in self.files:
                package: list[str] | None = [] if name != fullname else None
                return importlib.util.spec_from_file_location(
                    fullname, self.files[name], submodule_search_locations=package
                )
        if any(name.startswith(f"{fullname}.") for name in self.files):
            return importlib.machinery.ModuleSpec(fullname, None, is_package=True)
        return None
