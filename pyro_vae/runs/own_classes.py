"""Classes of the user's own in a run: a copy of their source lies in its folder, imported only with consent."""

from __future__ import annotations

import ast
import contextlib
import importlib.machinery
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

from ..disk.reading import read_whole
from ..disk.writing import write_whole
from .folder import read_about, read_checked
from .imports import look_in_working_directory
from .new_folder import COPY, checkpointed
from .parts import PARTS
from .settings import read_yaml

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
    """Copy the files that define classes, by ``package.module.Name``, into the folder of a run, and those of the same
    place that they import; what is installed is not copied, and names without a dot are ours."""
    for name, file in _own_files(paths):
        stem = f"{name}.__init__" if file.stem == "__init__" else name
        write_whole(folder / f"source.{stem}.py", read_whole(file, limit=None))


def sources_of(paths: Iterable[str]) -> dict[str, str]:
    """The files of `copy_sources` and where they lie, by module."""
    return {name: str(file.resolve()) for name, file in _own_files(paths)}


def _own_files(paths: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Modules and their files, of what is neither installed nor of the standard library."""
    waiting = [path.rpartition(".")[0] for path in paths if "." in path]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        file = Path(getattr(sys.modules.get(name), "__file__", None) or "")
        if name in seen or file.suffix != ".py" or _is_installed(file):
            continue
        seen.add(name)
        yield name, file
        package = name if file.stem == "__init__" else name.rpartition(".")[0]
        waiting += [name.rpartition(".")[0], *_imported(read_whole(file, limit=None), package)]


def _is_installed(file: Path) -> bool:
    """Whether a file belongs to what is installed, the standard library or this one."""
    known = (sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib"))
    installed = [*known, *site.getsitepackages(), site.getusersitepackages(), str(Path(__file__).parent.parent)]
    if {*file.parents} & {Path(place) for place in installed if place}:
        return True
    # A folder of `pip install --target`, on the path by PYTHONPATH.
    on_path = {*file.parents} & {Path(place) for place in sys.path if place}
    return any(any(place.glob("*.dist-info")) for place in on_path)


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

    Where the files that they come from are found as they were and where they were, these are imported, as usual. Else
    the copies in the run are, if that is `trusting`; they stand in for modules of the same names, which come back
    afterwards. A run that was made elsewhere could bring such files along: they are not where they were.

    Raises:
        ValueError: the files are not there, or were changed, or the run has no copy, and there is no consent.
    """
    about = read_about(folder)
    copies = {match["module"]: name for name in about["files"] if (match := COPY.fullmatch(name))}
    places = about.get("sources", {})
    changed = [
        (module, name, why)
        for module, name in copies.items()
        if (why := _difference(module, read_checked(folder, name), places))
    ]
    if not _trusted.get():
        _require_copies(folder, {*copies})
    if not changed:
        yield
        return
    if not _trusted.get():
        module, name, why = changed[0]
        raise ValueError(
            f"Expected {module.replace('.', '/')}.py as it was when {folder} was trained, and where it was; {why}. Put "
            f"it back, or look at {folder / name}, the copy that the run keeps, and import it by --trust (load(..., "
            f"trust=True)), which runs its code."
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


def require_as_begun(folder: Path) -> None:
    """Require, without consent, that a training which goes on from a checkpoint does so with the source that it had.

    Where the files lie does not matter here: they are imported, and not the copies.
    """
    place = checkpointed(folder)
    if place is None or _trusted.get():
        return
    for copy in sorted(place.glob("source.*.py")):
        module = match["module"] if (match := COPY.fullmatch(copy.name)) else ""
        if module and (difference := _difference(module, read_whole(copy, limit=None))):
            raise ValueError(
                f"Expected {module.replace('.', '/')}.py as it was when {folder} was trained; {difference}. Put it "
                f"back as {copy} is, the copy that the run keeps, or go on with the file as it is now by --trust, or "
                f"train anew."
            )


def _difference(module: str, content: bytes, places: Mapping[str, Any] | None = None) -> str:
    """Why a module is not taken for the one that a run was trained with; empty if it is.

    Args:
        content: of the file of that one.
        places: where files were, by module; None where it does not matter.
    """
    name = module.removesuffix(".__init__")
    look_in_working_directory()
    file, place = _file_of(name), None if places is None else places.get(name)
    if file is None or (places is None and not file.is_file()):
        before = "" if places is None else f"; it was {place}"
        return f"there is none of this name in the working directory or on PYTHONPATH{before}"
    if places is not None and place is None:
        return f"the run does not say where it was, so that {file} could be another"
    if places is not None and str(file.resolve()) != place:
        return f"it was {place}, and now {file.resolve()} would be imported"
    with contextlib.suppress(OSError, ValueError):
        if read_whole(file, limit=None) == content:
            return ""
    return f"{file} was changed since"


def _file_of(name: str) -> Path | None:
    """The file that a module would be imported from, or has been; nothing is imported."""
    if name in sys.modules:
        spec = sys.modules[name].__spec__
    else:
        top, *rest = name.split(".")
        spec = importlib.util.find_spec(top) if top not in sys.modules else sys.modules[top].__spec__
        for i, _ in enumerate(rest):
            places = None if spec is None else spec.submodule_search_locations
            if places is None:
                return None
            spec = importlib.machinery.PathFinder.find_spec(".".join([top, *rest[: i + 1]]), list(places))
    return None if spec is None or spec.origin is None else Path(spec.origin)


def _require_copies(folder: Path, copies: set[str]) -> None:
    """Raise a ValueError if the settings name a class that is neither installed nor among the copies."""
    look_in_working_directory()
    for part, given in read_yaml(folder / "settings.yaml").items():
        path = given.get("class_path") if part in PARTS and isinstance(given, dict) else None
        module = path.rpartition(".")[0] if isinstance(path, str) else ""
        if not module or {module, f"{module}.__init__"} & copies:
            continue
        file = _file_of(module.partition(".")[0])
        if file is not None and not _is_installed(file):
            raise ValueError(
                f"Expected a copy of {module}, of which {folder} names a class, in that folder; got none, so that "
                f"nothing tells whether {file} is what it was trained with. If you know that file, --trust "
                f"(load(..., trust=True)) imports it."
            )


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
