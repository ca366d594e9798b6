"""What `dispatch_private` takes from torch: a mode that sees every operation, and may answer it."""

import math

import torch

from pyro_vae.compression.dispatch_private import TorchDispatchMode


class Doubling(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(func.overloadpacket.__name__)
        found = func(*args, **(kwargs or {}))
        return 2 * found if self.seen[-1] == "exp" else found


def test_a_mode_sees_operations_and_answers_them():
    mode, x, weight = Doubling(), torch.ones(1, 3), torch.ones(2, 3)
    mode.seen = []
    with mode:
        found = torch.nn.functional.linear(x, weight).exp()
    assert mode.seen[-1] == "exp"
    assert {"mm", "addmm"} & set(mode.seen)
    torch.testing.assert_close(found, torch.full((1, 2), 2 * math.exp(3)))
    torch.testing.assert_close(torch.ones(()).exp(), torch.tensor(math.e))  # and outside it does not
