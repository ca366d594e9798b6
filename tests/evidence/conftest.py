"""A pair whose log p(x) is known in closed form."""

import pytest
from examples import LinearGaussian


@pytest.fixture
def linear():
    return LinearGaussian()
