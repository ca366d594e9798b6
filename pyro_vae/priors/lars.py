"""Learned accept/reject sampling."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..arguments.at_least import at_least
from ..distributions.density import Density
from ..networks import MLP

SMOOTHING = 0.9  # of the moving average of Z, for each training step
MARGIN = 1e-6  # Z stays this far from 0 and 1
MAX_PROPOSALS = 100_000  # for one draw without truncation


class LARS(nn.Module):
    """A normal thinned out by a learned acceptance probability: when latents leave holes that a flow cannot cut.

    p(z) = Normal(z; 0, I) a(z) / Z,  Z = E[a(z)] under the normal,  a(z) = sigmoid(network(z))

    With truncation T, the T-th proposal is accepted whatever it is, and with A = 1 - (1 - Z)^(T - 1):

    p(z) = Normal(z; 0, I) (A a(z) / Z + 1 - A)

    In training, Z is a moving average over steps of its estimate from fresh samples, with the gradient of the latest
    one. In evaluation, Z is the mean of a(z) over one large sample, the same every time; its error is
    `log_normalizer_standard_error`.

    Args:
        dim: number of latent dimensions.
        hidden: widths of the acceptance network.
        truncation: T, at least 2; None for none, where a draw may take many proposals.
        num_samples: fresh samples for Z in each training step.
        num_evaluation_samples: samples for Z in evaluation, drawn once, with a seed of their own.

    Raises:
        ValueError: a count that is too small.
        RuntimeError: in sampling without truncation, a draw was not accepted in 100,000 proposals.

    Reference:
        Bauer, Mnih 2019, "Resampled priors for variational autoencoders".

    Example:
        >>> prior = LARS(20).eval()
        >>> prior().log_prob(torch.zeros(7, 5, 20)).shape
        torch.Size([7, 5])
        >>> bool(prior.log_normalizer_standard_error < 0.01)
        True
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int] = (100, 100),
        truncation: int | None = 100,
        num_samples: int = 1024,
        num_evaluation_samples: int = 32_768,
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, num_samples=num_samples)
        at_least(2, num_evaluation_samples=num_evaluation_samples)  # for an error
        if truncation is not None and truncation < 2:
            raise ValueError(f"Expected truncation >= 2, or None; got {truncation}. Use StandardNormal instead of 1.")
        self.truncation, self.num_samples = truncation, num_samples
        self.network = MLP(dim, 1, hidden, nn.Tanh)
        sample = torch.randn(num_evaluation_samples, dim, generator=torch.Generator().manual_seed(0))
        self.loc = nn.Buffer(torch.zeros(dim), persistent=False)
        self.evaluation_sample = nn.Buffer(sample, persistent=False)
        with torch.no_grad():
            self.average = nn.Buffer(self._log_acceptance(sample).exp().mean())

    def forward(self) -> dist.Distribution:
        normalizer = self._smoothed() if self.training else self._log_acceptance(self.evaluation_sample).exp().mean()
        normalizer = normalizer.clamp(MARGIN, 1 - MARGIN)
        return Density(len(self.loc), functools.partial(self._log_density, normalizer=normalizer), self._draw)

    @property
    def log_normalizer_standard_error(self) -> Tensor:
        """Standard error of log Z in evaluation, shape ().

        log p(z) moves by as much where there is no truncation; with it by less, wherever a(z) is at least Z.
        """
        with torch.no_grad():
            acceptance = self._log_acceptance(self.evaluation_sample).exp()
        return acceptance.std() / acceptance.mean() / math.sqrt(len(acceptance))

    def _base(self) -> dist.Distribution:
        return dist.Normal(self.loc, 1.0).to_event(1)

    def _log_acceptance(self, z: Tensor) -> Tensor:
        return functional.logsigmoid(self.network(z)[..., 0])

    def _smoothed(self) -> Tensor:
        """Z with the value of the moving average, which it updates, and the gradient of the latest estimate."""
        latest = self._log_acceptance(self._base().sample((self.num_samples,))).exp().mean()
        with torch.no_grad():
            self.average.copy_(SMOOTHING * self.average + (1 - SMOOTHING) * latest)
        return self.average.clone() + latest - latest.detach()

    def _log_density(self, z: Tensor, *, normalizer: Tensor) -> Tensor:
        log_ratio = self._log_acceptance(z) - normalizer.log()
        if self.truncation is not None:
            log_left = (self.truncation - 1) * torch.log1p(-normalizer)  # log(1 - A): all before the last are rejected
            log_ratio = torch.logaddexp(log_ratio + torch.log(-torch.expm1(log_left)), log_left)
        return self._base().log_prob(z) + log_ratio

    def _draw(self, shape: torch.Size) -> Tensor:
        z = self._base().sample(shape)
        waiting = torch.ones(shape, dtype=torch.bool, device=z.device)
        for _ in range((self.truncation or MAX_PROPOSALS + 1) - 1):
            waiting = waiting & (torch.rand(shape, device=z.device) >= self._log_acceptance(z).exp())
            if not waiting.any():
                return z
            z = torch.where(waiting[..., None], self._base().sample(shape), z)
        if self.truncation is None:
            raise RuntimeError(
                f"Expected every draw to be accepted; {int(waiting.sum()):,} were not in {MAX_PROPOSALS:,} proposals. "
                f"Set a truncation, which bounds their number."
            )
        return z

    def extra_repr(self) -> str:
        return f"dim={len(self.loc)}, truncation={self.truncation}"
