"""Classes by import path: imported, and checked before anything of them is called."""

from __future__ import annotations

import importlib
import inspect
import os
import sys


def look_in_working_directory() -> None:
    """Let modules be found there, after all that is installed."""
    if not {"", os.getcwd()} & {*sys.path}:
        sys.path.append(os.getcwd())


def is_import_path(text: str) -> bool:
    """Whether a text is written as the path of something in a module; what else has a dot in it is never imported.

    Example:
        >>> is_import_path("package.module.Name"), is_import_path("package.Name "), is_import_path("package..Name")
        (True, False, False)
    """
    names = text.split(".")
    return len(names) > 1 and all(map(str.isidentifier, names))


def import_class(path: str, kind: type, *, what: str) -> type:
    """The class at an import path such as ``my_module.MyPrior``, a subclass of ``kind``.

    Modules are found among what is installed, then in the working directory: a file there never stands in for a module
    of the same name that others import. The standard library holds no part of a model, so nothing of it is imported.

    Args:
        kind: what the class must derive from.
        what: the option that asks for it, for the message.

    Raises:
        ValueError: it cannot be imported, or is something else.
    """
    module, _, name = path.rpartition(".")
    library = kind.__module__.partition(".")[0]
    wanted = f"Expected {what} to be the import path of a class that derives from {library}'s {kind.__name__}"
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise ValueError(f"{wanted}; got {path}, of the standard library.")
    if not is_import_path(path):  # Python would import the module before it looks for a name such as "Name "
        raise ValueError(f"Expected {what} to be an import path such as package.module.Name; got {path!r}.")
    look_in_working_directory()
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever the user's module raises
        raise ValueError(
            f"Expected {what} to be an import path such as package.module.Name; {path!r} gave "
            f"{type(error).__name__}: {error}. Modules are found among what is installed and in the working directory."
        ) from error
    if not (inspect.isclass(found) and issubclass(found, kind)):
        raise ValueError(f"{wanted}; {path} is {found!r}.")
    return found
