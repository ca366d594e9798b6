"""What every likelihood knows: the shape of one x, of its features, and which x it accepts."""

from __future__ import annotations

from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from ..networks import Shape, as_shape


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

    def __init__(self, event_shape: Shape, features_per_value: int = 1) -> None:
        super().__init__()
        self.event_shape = as_shape(event_shape)
        self.feature_shape = self.event_shape if features_per_value == 1 else (features_per_value, *self.event_shape)

    def split(self, features: Tensor) -> tuple[Tensor, ...]:
        """The ``features_per_value`` tensors of shape (..., B, *event_shape) inside features."""
        return features.unbind(-len(self.feature_shape))

    def check(self, x: Tensor) -> None:
        """Raise a ValueError unless every value of x (N, *event_shape) lies in the support."""
        if tuple(x.shape[1:]) != self.event_shape:
            raise ValueError(
                f"Expected data of shape (N, {', '.join(map(str, self.event_shape))}) for "
                f"{type(self).__name__}; got {tuple(x.shape)}."
            )
        valid = self.support.check(x)
        if not valid.all():
            bad = x[~valid]
            raise ValueError(
                f"Expected {self.accepts} for {type(self).__name__}; got {bad.numel():,} other values, such "
                f"as {bad.flatten()[0].item():.4g}. {self.cure}"
            )

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}"
