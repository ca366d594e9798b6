"""Exemplar prior."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..distributions.density import Density
from ..distributions.scale import unit_scale
from ..pairs.contexts import once_in_evaluation

BLOCK = 2048  # exemplars scored at once in evaluation
REFRESHED = 256  # stored codes brought up to date in a training step


class ExemplarPrior(nn.Module):
    """A Gaussian around the code of each training point: nothing to tune, for data sets small enough to keep.

    p(z) = 1/N sum_n Normal(z; m(x_n), s^2 I),  m(x_n) the mean of q(z|x_n), s learned and shared

    In training a data point must not explain itself. Which exemplar it is need not be known, also when its values are
    binarized anew at each visit: for every z the exemplar nearest to it is left out, whatever it is. The largest term
    of a sum taken away leaves no more than any other would, so that

    log 1/(N-1) sum_{n in nearest K, without the very nearest} Normal(z; m(x_n), s^2 I)

    is a lower bound on the leave-one-out prior of the paper, and equal to it up to the K where z lies nearest to the
    code of its own data point. The K + 1 nearest are looked up among stored codes, of which 256 are brought up to date
    in each step; an old code only costs tightness. They are then encoded again, with gradients.

    In evaluation log p(z) is the full mixture over all exemplars, encoded anew by each call of log_prob, so that it
    follows the encoder, and once in an estimate of log p(x): exact, and as slow as N is large. It is too high for the
    training data, which explain themselves there.

    Args:
        encoder: the encoder of the same model; shared, not copied.
        pseudo_inputs: (M, *event_shape), the training data.
        num_exemplars: N, that many of them at random; by default all. They are kept with the weights.
        num_neighbors: K, terms of the sum in training.
        seed: of that choice; the global random state is not touched.

    Raises:
        ValueError: num_exemplars above the number of pseudo_inputs, or not above num_neighbors, or num_neighbors
            below 1.

    Reference:
        Norouzi, Fleet, Norouzi 2020, "Exemplar VAE: linking generative models, nearest neighbor retrieval, and data
        augmentation" (there the data point itself is left out by its index).

    Example:
        >>> from pyro_vae.encoders import GaussianEncoder
        >>> images = torch.rand(100, 1, 8, 8)
        >>> ExemplarPrior(GaussianEncoder((1, 8, 8), 20), images)().event_shape
        torch.Size([20])
    """

    def __init__(
        self,
        encoder: Callable[[Tensor], dist.Distribution],
        pseudo_inputs: Tensor,
        num_exemplars: int | None = None,
        num_neighbors: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__()
        count = len(pseudo_inputs) if num_exemplars is None else num_exemplars
        if num_neighbors < 1 or not num_neighbors < count <= len(pseudo_inputs):
            raise ValueError(
                f"Expected 1 <= num_neighbors < num_exemplars <= {len(pseudo_inputs):,}, the number of pseudo_inputs; "
                f"got num_neighbors={num_neighbors:,} and num_exemplars={count:,}. Give more pseudo_inputs, or fewer "
                f"neighbors."
            )
        order = torch.randperm(len(pseudo_inputs), generator=torch.Generator().manual_seed(seed))
        self.encoder = encoder
        self.num_neighbors = num_neighbors
        self.raw_scale = nn.Parameter(torch.zeros(()))
        exemplars = pseudo_inputs[order[:count].sort().values.to(pseudo_inputs.device)].float()
        self.exemplars = nn.Buffer(exemplars)
        with torch.no_grad():
            codes = torch.cat([self._encode(block) for block in exemplars.split(BLOCK)])
        self.codes = nn.Buffer(codes)  # (N, D)
        self.oldest = nn.Buffer(torch.zeros((), dtype=torch.long))  # the code to bring up to date next

    def forward(self) -> dist.Distribution:
        if self.training:
            self._refresh()
        log_density = self._without_nearest if self.training else self._full
        return Density(self.codes.shape[1], log_density, self._draw)

    def _encode(self, x: Tensor) -> Tensor:
        return self.encoder(x).mean

    @torch.no_grad()
    def _refresh(self) -> None:
        count = min(REFRESHED, len(self.codes))
        rows = (self.oldest + torch.arange(count, device=self.codes.device)) % len(self.codes)
        self.codes.index_copy_(0, rows, self._encode(self.exemplars[rows]))
        self.oldest.copy_((self.oldest + count) % len(self.codes))

    def _without_nearest(self, z: Tensor) -> Tensor:
        points = z.reshape(-1, z.shape[-1])  # (R, D)
        with torch.no_grad():  # |z - m|^2 = |z|^2 - 2 (z m - |m|^2 / 2), for all exemplars: (R, N)
            nearness = points @ self.codes.T - self.codes.square().sum(-1) / 2
            nearest = nearness.topk(self.num_neighbors + 1).indices
        codes = self._encode(self.exemplars[nearest.flatten()]).view(*nearest.shape, -1)  # (R, K + 1, D)
        terms = self._around(codes).log_prob(points[:, None])
        others = terms.topk(self.num_neighbors + 1).values[:, 1:]
        return (others.logsumexp(-1) - math.log(len(self.codes) - 1)).view(z.shape[:-1])

    def _full(self, z: Tensor) -> Tensor:
        scale, dim = unit_scale(self.raw_scale).double(), self.codes.shape[1]
        points = z.double() / scale  # double, since squared distances come out of differences of large numbers
        points = torch.cat([points, -points.square().sum(-1, keepdim=True) / 2, torch.ones_like(points[..., :1])], -1)
        blocks = []
        for means in once_in_evaluation(self, lambda: [self._encode(part) for part in self.exemplars.split(BLOCK)]):
            codes = means.double() / scale
            codes = torch.cat([codes, torch.ones_like(codes[:, :1]), -codes.square().sum(-1, keepdim=True) / 2], -1)
            blocks.append((points @ codes.T).to(z.dtype).logsumexp(-1))  # of -|z - m|^2 / 2 s^2
        constant = dim * (scale.log() + math.log(2 * math.pi) / 2) + math.log(len(self.exemplars))
        return functools.reduce(torch.logaddexp, blocks) - constant.to(z.dtype)

    def _around(self, codes: Tensor) -> dist.Distribution:
        return dist.Normal(codes, unit_scale(self.raw_scale).expand_as(codes)).to_event(1)

    def _draw(self, shape: torch.Size) -> Tensor:
        indices = torch.randint(len(self.exemplars), shape, device=self.codes.device)
        codes = self._encode(self.exemplars[indices.flatten()]).view(*shape, -1)
        return self._around(codes).sample()

    def extra_repr(self) -> str:
        return f"num_exemplars={len(self.exemplars)}, num_neighbors={self.num_neighbors}"
