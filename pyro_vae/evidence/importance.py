"""log p(x) by importance sampling from the guide, for any model/guide pair."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, Literal

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO
from torch import Tensor
from tqdm import tqdm

from ..compiled import where_it_pays
from ..pairs import (
    Callee,
    check_densities,
    evaluating,
    in_particle_plate,
    is_bound,
    sample_sites,
    score,
    score_traces,
    seeded,
    traces,
)
from .result import LogMarginal

# Seconds that compiling saves for each image and sample, on one CPU core: 4.0 to 7.6 us plainly, 3.7 us compiled, with
# a VAE of 650,000 parameters.
SAVED_PER_SAMPLE = 2e-6


def log_marginal(
    model: Callee,
    guide: Callee,
    x: Tensor,
    *,
    num_samples: int = 1000,
    chunk_size: int = 4096,
    compile: bool | Literal["auto"] = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    seed: int | None = 0,
    progress: bool = False,
) -> LogMarginal:
    """Estimate log p(x) of each image by importance sampling from the guide.

    log p(x) ~ log mean_k w_k,  w_k = p(x, z_k) / q(z_k|x),  z_k ~ q(z|x), k = 1..K

    A stochastic lower bound that grows to log p(x) with K. Runs in evaluation mode and without gradients; KL weights
    and other scales of the pair do not enter. A guide that misses posterior mass makes it quietly too low: look at
    ``ess`` and at how the estimate moves with K.

    Args:
        model: p(x, z), called with images (B, ...).
        guide: q(z|x), called with the same images.
        x: images (N, ...), on the device of the pair.
        num_samples: K, samples for each image; exactly that many are drawn.
        chunk_size: largest number of (image, sample) pairs in memory at once.
        compile: draw and score full chunks in one recorded and compiled graph (`CompiledELBO`), with the same random
            numbers and the same result up to rounding. "auto" does so where there are enough images and samples to save
            more time than compiling takes, and a compiler. A pair that cannot be compiled is scored plainly, with a
            warning.
        precision: "bf16" takes the matrix products and convolutions of full chunks in bfloat16, which adds an error of
            its own, shared by all samples of an image and in no way part of ``standard_error``. Measure it on a subset
            of the images: the difference to "fp32" at the same seed, as experiments/benchmarks/evidence_time.py does.
            There it was -0.0017 +- 0.0027 nats for the mean of 128 images (an MLP of 650,000 parameters, on a CPU).
        seed: of the draws, on a random stream of their own; None draws from the global stream.
        progress: show a progress bar on the terminal.

    Returns:
        LogMarginal: log_prob, standard_error and ess of each image, (N,).

    Raises:
        ValueError: num_samples or chunk_size below 1, no images, a site outside the plate over images, model and
            guide that do not fit together, or bf16 without compiling.

    Reference:
        Burda, Grosse, Salakhutdinov 2016, "Importance weighted autoencoders"; Owen 2013, "Monte Carlo theory, methods
        and examples", chapter 9 (errors and effective sample size of ratio estimates).

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):  # z ~ N(0, 1), x ~ N(z, 1), so that log p(x) = log N(x; 0, 2)
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)
        >>> def guide(x):  # the exact posterior: one sample is enough
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
        >>> log_marginal(model, guide, torch.tensor([0.0, 1.0]), num_samples=1).log_prob
        tensor([-1.2655, -1.5155], dtype=torch.float64)
    """
    for name, value in (
        ("num_samples", num_samples),
        ("chunk_size", chunk_size),
        ("number of images", len(x)),
    ):
        if value < 1:
            raise ValueError(f"Expected {name} >= 1; got {value}.")
    images = min(len(x), max(1, chunk_size // min(num_samples, 64)))  # 64 samples share one pass of the encoder
    most = min(num_samples, max(1, chunk_size // images))
    draws = next((count for count in range(most, most // 2, -1) if num_samples % count == 0), most)  # no odd last chunk
    results = []
    bar = tqdm(
        total=len(x) * num_samples,
        unit="sample",
        unit_scale=True,
        desc="log p(x)",
        disable=None if progress else True,
        leave=False,
    )
    store = pyro.get_param_store()
    with seeded(seed), evaluating(model, guide), bar:
        known = set(store.keys())
        plain = particle_log_weights(model, guide, x)
        saves = SAVED_PER_SAMPLE * len(x) * num_samples
        scoring = where_it_pays(_Scoring(plain), compile=compile, precision=precision, saves=saves, device=x.device)
        for batch in x.split(images):
            total = WeightSum.empty(len(batch), x.device)
            for start in range(0, num_samples, draws):
                count = min(draws, num_samples - start)
                if (len(batch), count) == (images, draws):
                    total = total.add(scoring.loss(model, guide, batch, count))
                else:  # the last ones are not worth a graph of their own
                    total = total.add(plain(batch, count))
                bar.update(count * len(batch))
            results.append(total)
        # pyro.module only looks its parameters up; pyro.param without a value starts from its initial one.
        fresh = sorted(name for name in set(store.keys()) - known if "$$$" not in name)
    largest, first, second = (
        torch.cat([getattr(r, name) for r in results]).cpu() for name in ("largest", "first", "second")
    )
    result = WeightSum(largest, first, second, num_samples).result()
    if fresh and not is_bound(model, guide):
        warnings.warn(
            f"The parameters {fresh} were not in the param store and took their initial values. To evaluate functions "
            f"trained by fit, give its result.model and result.guide.",
            stacklevel=2,
        )
    if bad := int((~result.log_prob.isfinite()).sum()):
        warnings.warn(
            f"log p(x) is not finite for {bad:,} of {len(x):,} images: every weight was zero, or one was not a number. "
            f"Find them with result.log_prob.isfinite().",
            stacklevel=2,
        )
    return result


class _Scoring(ELBO):
    """Log weights (K, B) in the form that `CompiledELBO` records: as the loss of a pair."""

    def __init__(self, log_weights: Callable[[Tensor, int], Tensor]) -> None:
        super().__init__()
        self.log_weights = log_weights

    def loss(self, model: Callee, guide: Callee, batch: Tensor, count: int) -> Tensor:
        return self.log_weights(batch, count)

    def _get_trace(self, model: Callee, guide: Callee, args: Any, kwargs: Any) -> Any:
        return traces(model, guide, *args)


class WeightSum:
    """Streaming sums of weights w and w^2 per image, kept relative to the largest weight so far; float64."""

    def __init__(self, largest: Tensor, first: Tensor, second: Tensor, count: int) -> None:
        self.largest, self.first, self.second, self.count = largest, first, second, count

    @staticmethod
    def empty(num_images: int, device: torch.device | None = None) -> WeightSum:
        zeros = torch.zeros(num_images, dtype=torch.float64, device=device)
        return WeightSum(torch.full_like(zeros, -math.inf), zeros, zeros, 0)

    def add(self, log_weights: Tensor) -> WeightSum:
        """With log weights (K, B) added."""
        log_weights = log_weights.double()
        largest = torch.maximum(self.largest, log_weights.amax(0))
        # An image whose weights are all zero so far has nothing to rescale: 0 stays the reference.
        reference = torch.where(largest.isinf(), 0.0, largest)
        shrink = (self.largest - reference).exp()
        weights = (log_weights - reference).exp()
        return WeightSum(
            largest,
            self.first * shrink + weights.sum(0),
            self.second * shrink.square() + weights.square().sum(0),
            self.count + len(log_weights),
        )

    def result(self) -> LogMarginal:
        ess = self.first.square() / self.second
        # Relative variance of the mean weight, (E[w^2] / E[w]^2 - 1) / (K - 1): nan for one sample, as it should be.
        relative = ((self.count / ess - 1).clamp(min=0) / (self.count - 1) if self.count > 1 else ess * math.nan).sqrt()
        return LogMarginal(self.largest + self.first.log() - math.log(self.count), relative, ess, self.count)


def particle_log_weights(model: Callee, guide: Callee, x: Tensor) -> Callable[[Tensor, int], Tensor]:
    """The fastest sound way to get log weights (K, B) of a pair: all particles in one plate, or images repeated.

    A plate at dim -2 encodes each image once, but needs a pair that broadcasts over an extra leading dimension. Whether
    it does is tried on a few images: the same latents must have the same log weights, one image and particle at a time.
    If they do not, images are repeated, which every pair supports.
    """

    def plated(batch: Tensor, count: int) -> Tensor:
        return score(model, guide, batch, num_particles=count).log_weight

    def repeated(batch: Tensor, count: int) -> Tensor:
        rows = batch.repeat(count, *[1] * (batch.dim() - 1))  # (K B, ...)
        return score(model, guide, rows).log_weight.view(count, len(batch))

    return plated if _broadcasts(model, guide, x[:3]) else repeated


def _broadcasts(model: Callee, guide: Callee, x: Tensor) -> bool:
    particles, images = 2, len(x)
    rows = x.repeat(particles, *[1] * (x.dim() - 1))  # (K B, ...)
    # Outside the try: a pair that fails on plain images has a fault of its own to report.
    plain_model, plain_guide = traces(model, guide, rows)
    check_densities(plain_model, plain_guide)
    try:
        plated = traces(in_particle_plate(model, particles), in_particle_plate(guide, particles), x)
        plated_weight = score_traces(*plated, shape=(particles, images)).log_weight
    except (RuntimeError, ValueError, IndexError, TypeError):
        return False
    plated_sites = dict(sample_sites(plated[1]))
    for name, site in sample_sites(plain_guide):
        site["value"] = plated_sites[name]["value"].flatten(0, 1)
    same_latents = traces(model, poutine.replay(guide, trace=plain_guide), rows)
    plain_weight = score_traces(*same_latents, shape=(particles * images,)).log_weight
    return torch.allclose(plated_weight.flatten(), plain_weight, rtol=1e-4, atol=1e-3)
