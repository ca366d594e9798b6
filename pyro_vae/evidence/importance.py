"""log p(x) by importance sampling from the guide, for any model/guide pair."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable, Sequence
from typing import Literal

import pyro
import torch
from torch import Tensor
from tqdm import tqdm

from ..pairs.checks import check_guide
from ..pairs.contexts import evaluating, seeded
from ..pairs.modules import Callee, is_bound, modules_of
from .chunking import parse_bytes
from .counter_random import image_keys
from .result import LogMarginal, warn_of
from .sampler import Sampler

OnResult = Callable[[list[int], LogMarginal], None]


def log_marginal(
    model: Callee,
    guide: Callee,
    x: Tensor,
    *,
    num_samples: int = 1000,
    target_standard_error: float | None = None,
    max_samples: int = 100_000,
    defensive: float = 0.0,
    memory_budget: str | int = "1GiB",
    chunk_size: int | None = None,
    compile: bool | Literal["auto"] = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    seed: int | None = 0,
    progress: bool = False,
    only: Sequence[int] | None = None,
    on_result: OnResult | None = None,
) -> LogMarginal:
    """Estimate log p(x) of each image by importance sampling from the guide.

    log p(x) ~ log mean_k w_k,  w_k = p(x, z_k) / q(z_k|x),  z_k ~ q(z|x), k = 1..K

    A stochastic lower bound that grows to log p(x) with K. Runs in evaluation mode and without gradients; KL weights
    and other scales of the pair do not enter. A guide that misses posterior mass makes it quietly too low, and its
    error too small: a warning names the images whose ``khat`` is above 0.7.

    Every draw belongs to an image and a sample: the same seed gives the same numbers, to float rounding, whatever the
    chunks and the order of the images. Where a pair draws in a way that torch does not let us see by image, or weights
    an image by the company it is in (a mean over the batch), each image is drawn by itself, which is slower.

    With ``target_standard_error`` an image gets as many samples as it needs. Stopping as soon as the error looks small
    would favour draws that missed the large weights, so a pilot decides how many samples that takes, doubling from
    num_samples, and is thrown away; the estimate comes from as many fresh draws. It costs twice the samples and keeps
    the weights' mean unbiased. The error that the fresh draws find themselves can come out above the target, most of
    all where khat is large.

    Args:
        model: p(x, z), called with images (B, ...).
        guide: q(z|x), called with the same images. `widened` gives one that reaches farther.
        x: images (N, ...), on the device of the pair.
        num_samples: K, samples for each image; exactly that many are drawn.
        target_standard_error: in nats, of each image's log p(x); None for num_samples each.
        max_samples: of one image, with a target; an image that needs more keeps a larger error.
        defensive: share of the draws from the prior p(z) instead of the guide, weighted by the mixture of both: weights
            are then at most p(x|z) / defensive, so that their variance is finite. For few latents.
        memory_budget: bytes for tensors while it runs, such as "1GiB": chunks of 4,096 (image, sample) pairs, on a GPU
            as large as they can be, are cut to stay within it, after small ones have been tried.
        chunk_size: largest number of (image, sample) pairs at once, instead of what the budget allows.
        compile: draw and score full chunks in one recorded and compiled graph (`Recorded`), with the same random
            numbers and the same result up to rounding. "auto" does so where there are enough images and samples to save
            more time than compiling takes, and a compiler. A pair that cannot be compiled is scored plainly, with a
            warning.
        precision: "bf16" takes the matrix products and convolutions of full chunks in bfloat16, which adds an error of
            its own, shared by all samples of an image and in no way part of ``standard_error``. Measure it on a subset
            of the images: the difference to "fp32" at the same seed, as experiments/benchmarks/evidence_time.py does.
            There it could not be told from zero on 128 images (an MLP of 650,000 parameters, on a CPU).
        seed: of the draws; None takes one from the global stream.
        progress: show a progress bar on the terminal.
        only: numbers of the images of x to estimate, for work that is shared out or goes on; each gets the same draws
            as with all.
        on_result: called with numbers of images and their results, as soon as they are there.

    Returns:
        LogMarginal: log_prob, standard_error, ess, khat and more of each image, (N,), or of those in ``only``.

    Warns:
        HeavyTail: images with khat above 0.7.

    Raises:
        ValueError: a count below 1, no images, a site outside the plate over images, model and guide that do not fit
            together or have other supports or masks, a guide that is a point mass (or one without the density that
            its auxiliary sites give it), auxiliary sites with a defensive mixture, an image twice in ``only``, bf16
            without compiling, or a budget too small for one image.

    Reference:
        Burda, Grosse, Salakhutdinov 2016, "Importance weighted autoencoders"; Owen 2013, "Monte Carlo theory, methods
        and examples", chapter 9 (errors and effective sample size of ratio estimates); Hesterberg 1995, "Weighted
        average importance sampling and defensive mixture distributions"; Vehtari, Simpson, Gelman, Yao, Gabry 2024,
        "Pareto smoothed importance sampling".

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
    for name, value in (("num_samples", num_samples), ("number of images", len(x)), ("chunk_size", chunk_size)):
        if value is not None and value < 1:
            raise ValueError(f"Expected {name} >= 1; got {value}.")
    if target_standard_error is not None and not target_standard_error > 0:
        raise ValueError(f"Expected target_standard_error > 0; got {target_standard_error}.")
    if target_standard_error is not None and not 2 <= num_samples <= max_samples:
        raise ValueError(
            f"Expected num_samples, where the pilot starts, from 2 to max_samples; got {num_samples} and {max_samples}."
        )
    if not 0 <= defensive < 1:
        raise ValueError(f"Expected defensive from 0 to below 1; got {defensive}.")
    budget = parse_bytes(memory_budget)
    wanted = chosen_images(len(x), only)
    seed = int(torch.randint(2**62, ())) if seed is None else seed
    store = pyro.get_param_store()
    with seeded(seed), evaluating(model, guide):
        known = set(store.keys())
        check_guide(model, guide, x[:3])
        keys, count = image_keys(x, seed), len(wanted)
        sampler = Sampler(model, guide, x, keys, count, defensive, num_samples, budget, chunk_size, compile, precision)
        total = len(wanted) * num_samples if target_standard_error is None else None
        shown = None if progress else True
        results = []
        with tqdm(total=total, unit="sample", unit_scale=True, desc="log p(x)", disable=shown, leave=False) as bar:
            for start in range(0, len(wanted), sampler.images):
                some = wanted[start : start + sampler.images]
                images = torch.tensor(some)
                if target_standard_error is None:
                    result = sampler.estimate(images, num_samples, bar.update)
                else:
                    result = sampler.to_target(images, num_samples, max_samples, target_standard_error, bar.update)
                result = result.with_shared_error(shared_error(model, guide))
                results.append(result)
                if on_result is not None:
                    on_result(some, result)
        # pyro.module only looks its parameters up; pyro.param without a value starts from its initial one.
        fresh = sorted(name for name in set(store.keys()) - known if "$$$" not in name)
    if fresh and not is_bound(model, guide):
        warnings.warn(
            f"The parameters {fresh} were not in the param store and took their initial values. To evaluate functions "
            f"trained by fit, give its result.model and result.guide.",
            stacklevel=2,
        )
    result = LogMarginal.join(results)
    warn_of(result, wanted, stacklevel=3)
    return result


def chosen_images(num_images: int, only: Sequence[int] | None) -> list[int]:
    """The numbers of the images to estimate."""
    wanted = list(range(num_images) if only is None else map(operator.index, only))
    if not wanted or not all(0 <= i < num_images for i in wanted):
        raise ValueError(f"Expected numbers of images from 0 to {num_images - 1:,}, at least one; got {wanted[:5]}.")
    if len(set(wanted)) < len(wanted):
        raise ValueError(
            f"Expected each image once, for one that comes again would bring the same draws; got {wanted[:5]}... "
            f"Give numbers of images, not a mask."
        )
    return wanted


def shared_error(model: Callee, guide: Callee) -> float:
    """Standard error of log p(x) that all images share: that of the estimated normalizers of the pair's parts."""
    name = "log_normalizer_standard_error"
    parts = {part for module in modules_of(model, guide).values() for part in module.modules()}
    return math.hypot(*(float(getattr(part, name)) for part in parts if hasattr(part, name)))
