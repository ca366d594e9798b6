"""Several processes that do one command: who speaks."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from collections.abc import Iterator

from ..training.sharing import LostProcess

SECONDS_FOR_THE_FIRST = 5.0


@contextlib.contextmanager
def after_the_first(rank: int) -> Iterator[None]:
    """Of several processes the first one speaks; another does so of an error of its own alone, which ends all."""
    if rank == 0:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except LostProcess:
            sys.exit(1)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("") from None
        except Exception:
            time.sleep(SECONDS_FOR_THE_FIRST)  # an error of all processes is said by it, and then ends this one
            raise
