"""What every likelihood knows: the shape of one x, of its features, and which x it accepts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from ..networks import Shape, as_shape

NOT_FINITE = (
    "Repair or remove what is not finite; where NaN marks what is missing, take Masked(likelihood) and "
    "ZeroImputed(encoder) (--missing)."
)


class Likelihood(nn.Module):
    """A module that turns features h (..., B, *feature_shape) into p(x|z), batch (..., B), event event_shape.

    Abstract: a subclass gives ``forward`` and ``support``. The width of a decoder's output follows from
    ``feature_shape``: ``MLP(latent_dim, likelihood.feature_shape)``.

    Args:
        event_shape: shape of one x, such as (1, 28, 28).
        features_per_value: numbers the decoder gives for each value of x. With one, ``feature_shape`` equals
            ``event_shape``; with more, it has that count in front.
    """

    support: Constraint
    accepts: str  # the support in words
    cure: str  # what to do with other data
    bias: Tensor  # (*feature_shape), where `start_at` is called; added to the features

    def __init__(self, event_shape: Shape, features_per_value: int = 1) -> None:
        super().__init__()
        self.event_shape = as_shape(event_shape)
        self.feature_shape = self.event_shape if features_per_value == 1 else (features_per_value, *self.event_shape)

    def split(self, features: Tensor) -> tuple[Tensor, ...]:
        """The ``features_per_value`` tensors of shape (..., B, *event_shape) inside features."""
        return features.unbind(-len(self.feature_shape))

    def start_at(self, mean: Tensor | None, features: Callable[[Tensor], Tensor]) -> None:
        """Set ``bias``, to be added to the features, so that zero features give a distribution with this mean.

        The decoder, which starts near zero, then starts at the data's mean; its own bias is trained on top.

        Args:
            mean: (*event_shape), such as the mean of the training data; None for a bias of zeros.
            features: from a mean to all features, or to those of the first of ``features_per_value`` alone.

        Raises:
            ValueError: the mean has another shape.
        """
        bias = torch.zeros(self.feature_shape, device=None if mean is None else mean.device)
        if mean is not None:
            if tuple(mean.shape) != self.event_shape:
                raise ValueError(f"Expected mean of shape {self.event_shape}; got {tuple(mean.shape)}.")
            start = features(mean)
            (bias if start.shape == bias.shape else bias[0]).copy_(start)
        self.register_buffer("bias", bias)

    def check(self, x: Tensor) -> None:
        """Raise a ValueError unless every value of x (N, *event_shape) lies in the support."""
        name = type(self).__name__
        if not x.is_floating_point():
            raise ValueError(
                f"Expected floating-point data for {name}; got {x.dtype}. Convert with `.float()`, and divide 8-bit "
                f"images by 255."
            )
        if tuple(x.shape[1:]) != self.event_shape:
            raise ValueError(
                f"Expected data of shape (N, {', '.join(map(str, self.event_shape))}) for {name}; got "
                f"{tuple(x.shape)}. Give the likelihood the shape of one x as event_shape, or reshape the data."
            )
        valid = self.support.check(x)
        if valid.all():
            return
        bad = x[~valid]
        shown, cure = bad.flatten()[0], self.cure
        if not bad.isfinite().all():
            shown, cure = bad[~bad.isfinite()][0], NOT_FINITE
        others = f"{bad.numel():,} other value{'s' if bad.numel() > 1 else ''}"
        raise ValueError(f"Expected {self.accepts} for {name}; got {others}, such as {shown.item():.4g}. {cure}")

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}"
