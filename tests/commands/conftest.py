"""Commands are run as they are, but for what takes most of their time: drawing."""

import pytest
from matplotlib.figure import Figure


def _undrawn(figure, target, **options):
    target.write(b"a figure of " + str(len(figure.axes)).encode() + b" axes")


@pytest.fixture(autouse=True)
def _figures_are_made_and_not_drawn(request, monkeypatch):
    """Their files hold a line; tests that look at them are marked so, and tests/plots looks at all of them."""
    if request.node.get_closest_marker("drawn") is None:
        monkeypatch.setattr(Figure, "savefig", _undrawn)
