"""A function of tensors on a GPU, captured as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Container

import torch
from torch import Tensor


class Captured:
    """A function of tensors on a GPU, captured as a CUDA graph at its second call and replayed from then on.

    The result is overwritten by the next call.

    Args:
        changing: positions of the arguments that are given anew in each call, like the indices of a batch; all others
            must be the same tensors every time.
    """

    def __init__(self, run: Callable[..., list[Tensor]], *, changing: Container[int]) -> None:
        self.run, self.changing = run, changing
        self.warm = False
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """One call; also while capturing, its effects happen once."""
        with torch.cuda.device(inputs[0].device):  # streams and graphs are those of the current one
            if not self.warm:  # libraries set themselves up, kernels are compiled
                self.warm = True
                stream = torch.cuda.Stream()
                stream.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(stream):
                    result = self.run(*inputs)
                torch.cuda.current_stream().wait_stream(stream)
                return result
            if self.graph is None:
                self.graph = torch.cuda.CUDAGraph()
                self.inputs = [tensor.clone() if i in self.changing else tensor for i, tensor in enumerate(inputs)]
                with torch.cuda.graph(self.graph):  # records, and runs nothing
                    self.result = self.run(*self.inputs)
            for mine, given in zip(self.inputs, inputs, strict=True):
                if mine is not given:  # of those that change
                    mine.copy_(given)
            self.graph.replay()
            return self.result
