"""Categories and lengths out of range are refused before torch meets them."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from pyro_vae.pairs.lookups_private import LookupsChecked

table = nn.Embedding(3, 2)
LOOK_UPS = [
    table,
    lambda y: functional.one_hot(y, 3),
    lambda y: functional.one_hot(y, num_classes=3),
    lambda y: table.weight[y],
    lambda y: torch.zeros(2, 3)[:, y],
    lambda y: torch.zeros(2, 3)[..., y],
    lambda y: torch.zeros(5, 4, 3, 2)[torch.ones(5, 4) > 0, y[-1:], None, 0],
]


@pytest.mark.parametrize("wrong", [-1, 3])
@pytest.mark.parametrize("look_up", LOOK_UPS)
def test_categories(look_up, wrong):
    right = torch.tensor([0, 2, 1])
    with LookupsChecked():
        inside = look_up(right)
    assert torch.equal(inside, look_up(right))
    with (
        LookupsChecked(),
        pytest.raises(ValueError, match=rf"categories from 0 to 2 for .* of 3; got {wrong}\."),
    ):
        look_up(torch.tensor([0, wrong]))


def test_a_code_as_long_as_needed_passes():
    with LookupsChecked():
        assert functional.one_hot(torch.tensor([4])).shape == (1, 5)
        assert table(torch.zeros(0, dtype=torch.int64)).shape == (0, 2)


@pytest.mark.parametrize("batch_first", [True, False])
def test_lengths(batch_first):
    x = torch.zeros(2, 4, 3) if batch_first else torch.zeros(4, 2, 3)

    def pack(lengths):
        return pack_padded_sequence(x, torch.tensor(lengths), batch_first=batch_first, enforce_sorted=False)

    with LookupsChecked():
        assert pack([2, 4]).batch_sizes.tolist() == [2, 2, 1, 1]
        with pytest.raises(ValueError, match=r"lengths up to that of the padded sequences, 4; got 5"):
            pack([2, 5])
        with pytest.raises(ValueError, match=r"lengths of at least 1 for packed sequences; got 0"):
            pack([0, 4])
