"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

PART = re.compile(r"\.[0-9a-f]{16}\.part")  # name of a file that is being written; a killed process leaves it behind
CURES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), " Free some space, then try again."),
    errno.ENAMETOOLONG: " Use a shorter name.",
    errno.EACCES: " Change its permissions, or use another place.",
    errno.EROFS: " Use a place that you may write to.",
}

FORMATS = (".png", ".pdf", ".svg")
TABLES = (".parquet", ".csv", ".tsv")


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears at the path when the block ends without an error, in place of the one before.

    Until then the bytes are in a hidden file beside it. Its permissions are those of any new file (the umask).

    Raises:
        OSError: it cannot be written (disk full, no permission, name too long), or something lies at the path that is
            not a regular file, such as a symbolic link, which stays as it is.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with written_whole(Path(folder, "numbers")) as file:
        ...         _ = file.write(b"1 2 3")
        ...     Path(folder, "numbers").read_text()
        '1 2 3'
    """
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with saying(path):
            require_regular(path)
            with part.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # or a crash of the machine could leave an empty file under the name
            part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def write_whole(path: Path, content: bytes) -> None:
    """Write these bytes, whole or not at all."""
    with written_whole(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    write_whole(path, text.encode())


def save_figure(figure: Figure, path: Path, *, dpi: int = 200) -> None:
    """Save a figure, in the format that its suffix says, whole or not at all; dpi dots an inch, where there are any."""
    if path.suffix not in FORMATS:
        raise ValueError(f"Expected the path of a figure to end in {', '.join(FORMATS)}; got {path}.")
    with written_whole(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=dpi)


def save_table(table: DataFrame, path: Path) -> None:
    """Save a data frame without its index, in the format that the suffix says, whole or not at all."""
    if path.suffix not in TABLES:
        raise ValueError(f"Expected the path of a table to end in {', '.join(TABLES)}; got {path}.")
    with written_whole(path) as file:
        if path.suffix == ".parquet":
            try:
                file.write(table.to_parquet(None, index=False))
            except ImportError as error:
                cure = 'Run pip install "pyro-vae[tables]", or write .csv.'
                raise ImportError(f"Expected pyarrow, to write {path}; got none. {cure}") from error
        else:
            table.to_csv(file, index=False, sep="\t" if path.suffix == ".tsv" else ",")


def require_regular(path: Path) -> None:
    """Refuse to write where a link, a folder or a device lies, which the writing would remove: a FileExistsError."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        kind = "a symbolic link" if path.is_symlink() else "a folder" if path.is_dir() else "a special file"
        raise FileExistsError(f"Expected a regular file or none at {path}; got {kind}. Move it away.")


@contextlib.contextmanager
def saying(path: Path) -> Iterator[None]:
    """Errors of the system inside, as a sentence that names the path."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # a sentence already
            raise
        cure = CURES.get(error.errno, "")
        raise type(error)(f"Expected to write {path}; got an error: {error.strerror}.{cure}") from error
