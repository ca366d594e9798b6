"""The private interface of atexit that the command uses: Python 3.11 has it, and it is mended in
`pyro_vae/commands/atexit_private.py`."""

import subprocess
import sys


def test_exit_handlers_run_once_the_latest_first():
    """In a process of its own: the handlers of this one are to run at its end."""
    code = (
        "import atexit; from pyro_vae.commands.atexit_private import run_exit_handlers\n"
        "atexit.register(print, 'first'); atexit.register(print, 'second'); run_exit_handlers(); print('end')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["second", "first", "end"]
