"""Counts are refused by their name, with the smallest that is allowed."""

import numpy as np
import pytest
import torch

from pyro_vae.arguments.at_least import at_least


def test_whole_numbers_of_any_kind_are_counts():
    for count in (2, None, np.int64(3), torch.tensor(4)):
        assert at_least(2, count=count) is None


@pytest.mark.parametrize("count", [1, -3, np.int64(1)])
def test_too_small_a_count_is_named(count):
    with pytest.raises(ValueError, match=f"Expected draws >= 2; got {count}"):
        at_least(2, fine=2, draws=count)


@pytest.mark.parametrize("count", [2.5, "3", torch.tensor(3.0)])
def test_what_is_no_whole_number_is_named(count):
    with pytest.raises(ValueError, match=r"Expected draws to be a whole number >= 2; got .+"):
        at_least(2, draws=count)
