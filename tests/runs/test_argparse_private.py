"""Each private interface of argparse and jsonargparse that the command line uses, by itself: Python 3.11 and
jsonargparse 4.53.0 have them.

A test that fails after an upgrade names what has changed: `pyro_vae/runs/argparse_private.py` is where to mend it.
"""

import jsonargparse
import pytest

from pyro_vae.runs.argparse_private import HelpFormatter, actions, type_of


@pytest.fixture
def parser():
    made = jsonargparse.ArgumentParser(prog="x", formatter_class=HelpFormatter)
    made.add_argument("--plain", type=int, default=3, help="A number.")
    made.add_argument("--hinted", type=int | None, default=None, help="A number or none.")
    made.add_argument("--needed", type=str, required=True, help="A text.")
    made.add_argument("words", nargs="*", type=str, help="Some words.")
    return made


def test_a_parser_lists_its_options_with_their_types(parser):
    by_name = {action.dest: action for action in actions(parser)}
    assert by_name.keys() == {"help", "plain", "hinted", "needed", "words"}
    assert by_name["plain"].option_strings == ["--plain"]
    assert [type_of(by_name[name]) for name in ("plain", "hinted")] == [int, int | None]


def test_help_shows_defaults_and_no_types_of_python(parser):
    text = " ".join(parser.format_help().split())
    assert "A number. (default: 3)" in text
    assert "A text. (required)" in text
    assert "A number or none. --" in text
    assert "Some words. " in text
    assert "Some words. (" not in text
    assert "type:" not in text


def test_help_shows_a_list_once(parser):
    parser.add_argument("--sizes", type=list[int], default=[1], help="Sizes.")
    assert "--sizes" in parser.format_help()
    assert "--sizes+" not in parser.format_help()
