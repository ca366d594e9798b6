"""A run says the threads that it was computed with, not those around it."""

import torch
from torch import nn

from pyro_vae.runs.environment import environment, few_threads


def test_the_threads_are_those_of_the_model():
    torch.set_num_threads(2)
    try:
        for module, threads in ((nn.Linear(3, 4), 1), (nn.Linear(500, 500), 2)):
            with few_threads(module):
                assert torch.get_num_threads() == threads
            assert environment(torch.device("cpu"), module)["threads"] == threads
        assert environment(torch.device("cpu"))["threads"] == torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
