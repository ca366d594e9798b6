"""What a recorded function returns: its results, with the derivatives that were computed along with them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .graph import Index, Outcome
from .signature import replaced


def value_of(outcome: Outcome) -> Any:
    """What the function returns, with gradients added to where it adds them."""
    for leaf, gradient in outcome.accumulated:
        if leaf.is_leaf:
            leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient
        else:
            leaf.backward(gradient)
    structure, attached = outcome.returned
    results = outcome.results
    if outcome.derivatives:
        leaves, gradients = zip(*outcome.derivatives, strict=True)
        results = [_KnownGradients.apply(results[0], gradients, *leaves)]
    elif any(attached):
        anchor = torch.zeros((), requires_grad=True)
        results = [_NoHistory.apply(r, anchor) if of else r for r, of in zip(results, attached, strict=True)]
    return replaced(structure, results.__getitem__, Index)


class _KnownGradients(torch.autograd.Function):
    """A number whose derivatives were computed along with it."""

    @staticmethod
    def forward(ctx: Any, result: Tensor, gradients: tuple[Tensor, ...], *leaves: Tensor) -> Tensor:
        ctx.gradients = gradients
        return result.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "Expected first derivatives of what a recorded function returns; got create_graph=True. Call the "
                "function itself for derivatives of derivatives, or take them inside it."
            )
        return None, None, *(outer[0] * gradient for gradient in ctx.gradients)


class _NoHistory(torch.autograd.Function):
    """A result whose derivatives were not recorded: it says so when they are asked for."""

    @staticmethod
    def forward(ctx: Any, result: Tensor, anchor: Tensor) -> Tensor:
        return result.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        raise RuntimeError(
            "Expected .backward() on the one number that a recorded function returns, or inside the function; got it "
            "on another result, whose history is not recorded. Return the loss itself, or call under torch.no_grad()."
        )
