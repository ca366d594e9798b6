"""All that this room uses of argparse and jsonargparse beyond their public names.

Seen in Python 3.11 and jsonargparse 4.53.0; ``tests/runs/test_argparse_private.py`` has a test of each.
"""

from __future__ import annotations

import argparse
import re
from typing import Any

from jsonargparse import DefaultHelpFormatter


def actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What a parser takes, one for each option."""
    return parser._actions


def type_of(action: argparse.Action) -> Any:
    """The type hint of an option; jsonargparse keeps those that are no plain types under a name of its own."""
    return getattr(action, "_typehint", action.type)


class HelpFormatter(DefaultHelpFormatter):
    """Shows the default of an option, where it has one, without its type in the words of Python; and of a list the
    option that gives it, without the one that appends to it."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return re.sub(r", --[\w.-]+\+ \S+", "", super()._format_action_invocation(action))

    def _get_help_string(self, action: argparse.Action) -> str:
        text = super()._get_help_string(action).replace("type: %(type)s", "")
        text = text if action.default is not None else text.replace("default: %(default)s", "")
        text = text.replace("(required, )", "(required)").replace("(, ", "(").replace(", )", ")").replace(" ()", "")
        return text.replace("(required)", "" if action.nargs == "*" else "(required)")
