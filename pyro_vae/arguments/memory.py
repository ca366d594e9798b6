"""Whether data of a declared size fit into memory: looked at before anything is read."""

import os

OTHERWISE = 8 << 30  # where the system does not tell its memory


def require_memory(num_values: int, source: object) -> None:
    """Raise a ValueError unless so many values as float32 fill at most a quarter of the machine's memory.

    The rest is for the copies that splitting and training make.
    """
    most = physical_memory() // 16
    if num_values > most:
        raise ValueError(
            f"Expected at most {most:,} values in {source}, which as float32 fill a quarter of this machine's memory; "
            f"got {num_values:,}. Give a part of the data, smaller images, or use a machine with more memory."
        )


def physical_memory() -> int:
    """The machine's memory in bytes."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return OTHERWISE
