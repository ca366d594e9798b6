"""All that this room uses of Python's atexit beyond its public names.

Seen in Python 3.11; ``tests/commands/test_atexit_private.py`` has a test of it.
"""

from __future__ import annotations

import atexit


def run_exit_handlers() -> None:
    """Call what was registered to run at the end of the process, the latest first."""
    atexit._run_exitfuncs()
