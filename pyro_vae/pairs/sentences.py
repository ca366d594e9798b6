"""What Pyro and torch say about a pair's mistakes, as a sentence with the cure."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from .batch import Points, tensors_of
from .supports import is_made_of


@contextmanager
def in_a_sentence(x: Points | None = None) -> Iterator[None]:
    """Pyro's errors about shapes, parameters and values as a sentence with the cure, without the tensors it prints; of
    the data x that a pair is called with it may say what makes parameters NaN."""
    try:
        with OfDistributions():
            yield
    except (ValueError, RuntimeError, IndexError) as error:
        if isinstance(error, NotImplementedError) and (where := unfinished(error)):
            purpose, cure = MISSING[where[1]]
            raise ValueError(
                f"Expected distributions that can {purpose}; got {where[0]}, which cannot. Give it {cure}."
            ) from error
        if (found := re.match(AT_A_SITE + NOT_A_NUMBER, str(error), re.DOTALL)) and x is not None:
            check_negative(f"{found[1]} of a {found[2]} that is a number", tensors_of(x))
        for pattern, sentence in SENTENCES.items():
            if found := re.match(AT_A_SITE + pattern, str(error), re.DOTALL):
                raise ValueError(sentence.format(*found.groups())) from None
        text, shapes, _ = str(error).partition("Trace Shapes:")  # which Pyro adds to every error
        if shapes and isinstance(error, ValueError) and text.startswith("Expected"):
            raise ValueError(text.strip()) from error
        raise
    except (TypeError, AttributeError) as error:
        if found := re.match(r"'(\w+)' object has no attribute 'contiguous'", str(error)):
            raise TypeError(f"Expected a tensor as initial value of pyro.param; got {found[1]}.") from None
        raise
    except KeyError as error:
        if traceback.extract_tb(error.__traceback__)[-1].filename.endswith("param_store.py"):
            raise ValueError(
                f"Expected an initial value for pyro.param({error}), which the param store does not hold; got none. "
                f"Write pyro.param({error}, value); to evaluate what fit has trained, give its result.model and "
                f"result.guide."
            ) from None
        if "intermediates cache" not in str(error):
            raise
        raise ValueError(
            f"Expected a distribution that can score these values; one of its transforms has no inverse ({error}). Use "
            f"one with an inverse, or, for values that it has drawn itself, give the transforms after it cache_size=1."
        ) from error


def check_negative(what: str, data: Iterable[Tensor]) -> None:
    """Raise a ValueError, where parameters or draws are NaN, that asks for a logarithm if the data are negative."""
    if (least := min((float(x.float().nan_to_num().min()) for x in data), default=0.0)) < 0:
        raise ValueError(
            f"Expected {what}; got NaN, and data with values such as {least:.4g}. Is a logarithm or a root of them "
            f"taken? Repair these values, or shift the data."
        ) from None


class OfDistributions(Messenger):
    """Refuses what is no distribution that Pyro can draw and score along a plate, before it is drawn."""

    def _pyro_sample(self, msg: Any) -> None:
        if not callable(msg["fn"]):
            kind = type(msg["fn"]).__name__
            if hasattr(torch.distributions, kind):
                raise TypeError(
                    f"Expected distributions of pyro.distributions; got one of torch.distributions. Write "
                    f"pyro.distributions.{kind}, whose arguments are the same."
                )
            raise TypeError(f"Expected a distribution at site {msg['name']!r}; got {kind}.")
        if is_made_of(msg["fn"], dist.Empirical):
            raise ValueError(
                f"Expected a distribution with a density at site {msg['name']!r}; got Empirical, which has "
                f"probabilities of single values alone. Take ExemplarPrior, or a mixture of Gaussians at the values: "
                f"dist.MixtureSameFamily(dist.Categorical(logits=log_weights), dist.Normal(values, scale).to_event(1))."
            )


MISSING = {  # methods of distributions and transforms, and what they are for
    "sample": ("be drawn from", "a sample method"),
    "rsample": ("be drawn from", "a sample method"),
    "expand": ("be repeated along a plate", "an expand method, or the shape of the batch itself"),
    "log_prob": ("score values", "a log_prob method"),
    "_inverse": ("score values", "transforms that have an inverse"),
    "log_abs_det_jacobian": ("score values", "transforms that are one-to-one, with a log_abs_det_jacobian"),
}


def unfinished(error: BaseException) -> tuple[str, str] | None:
    """The class of a distribution or transform and its method that raised an error; None where none of them did."""
    for frame, _ in reversed([*traceback.walk_tb(error.__traceback__)]):
        name, owner = frame.f_code.co_name, frame.f_locals.get("self")
        if name in MISSING and isinstance(owner, torch.distributions.Distribution | torch.distributions.Transform):
            return type(owner).__name__, name
    return None


NOT_A_NUMBER = (  # torch may print a part of the values alone, but of real numbers no other is wrong
    r"Expected parameter (\w+) .* of distribution (\w+)\(.* to satisfy the constraint "
    r"(?:[^,]*Real[^,]*(?:, \d+\))?, but found invalid|.*, but found invalid values:.*\bnan\b)"
)
AT_A_SITE = r"(?:Error while computing \w+ at site '\S+':\n)?"  # which Pyro's objectives put before
WHOLE = (
    "Expected inputs of the type of the networks' parameters, {1}; got {0}. Whole numbers stay as they are "
    "given: convert them where model and guide use them, x.float(), or x / 255 for grey levels of 8 bits; tensors of "
    "floating-point numbers beforehand, x.to(dtype)."
)
CATEGORIES = (
    "Expected categories within those of the embedding, one-hot code or table that looks them up; got others. Number "
    "them from 0 (numpy.unique(y, return_inverse=True)), or make room for more."
)
SENTENCES = {  # what errors of Pyro and torch begin with, and what is said instead
    r"Shape mismatch inside plate\('(.*?)'\) at site (\S+) dim \S+ (\d+) vs (\d+)": (
        "Expected {2} values along the plate {0!r} at site {1!r}; got {3}. Dimensions of one data point belong to the "
        "event of its distribution: add .to_event(1), or how many there are. Along the plate, parameters have to be a "
        "function of the data."
    ),
    r"Value is not broadcastable with batch_shape\+event_shape: torch.Size\((.*?)\) vs torch.Size\((.*?)\)": (
        "Expected values of shape {1}, a batch of data points, at each observed site; got {0}. Observe what the model "
        "is called with, obs=x: values fixed beforehand, as by pyro.condition(model, ...), do not follow the batch."
    ),
    r"Expected parameter (\w+) .* of distribution (\w+)\(.* to satisfy the constraint (.*), but found invalid": (
        "Expected {0} of a {1} to satisfy {2}; got other values, or NaN. Map the output of its network there: a scale, "
        "say, by .exp() or torch.nn.functional.softplus."
    ),
    r"Expected value argument .* within the support \((.*)\) of the distribution (\w+)\(.*, but found invalid": (
        "Expected values in the support of a {1}, {0}; got others, or NaN. Use a distribution for such values, or keep "
        "them inside, those too that a mask leaves out."
    ),
    r"Multiple \w+ sites named '(.*?)'": (
        "Expected each site and each plate once in a model or guide; got two of the name {0!r}. Open a plate once, "
        "around all its sites, and give each site a name of its own."
    ),
    "Boolean value of Tensor with more than one value": (
        "Expected a pair that computes all data points at once; got a Python branch on their values. Replace it by "
        "torch.where."
    ),
    r"mat1 and mat2 shapes cannot be multiplied \(\d+x(\d+) and (\d+)x\d+\)": (
        "Expected {1} numbers for each data point as input of a linear layer; got {0}. Give the layer as many as the "
        "data, or the latents and what is joined to them, have in their last dimension."
    ),
    r"mat1 and mat2 must have the same dtype, but got (\w+) and (\w+)": WHOLE,
    r"expected m1 and m2 to have the same dtype, but got: (.+) != (\w+)": WHOLE,
    r"Input type \((.+)\) and (?:bias|weight) type \((.+)\) should be the same": WHOLE,
    r"index out of range in self": CATEGORIES,
    r"index \d+ is out of bounds for dimension": CATEGORIES,
    r"tensors used as indices must be": (
        "Expected indices that are whole numbers; got floating-point ones. Convert them with .long(), or "
        ".astype('int64')."
    ),
    r"Length of all samples has to be greater than 0": (
        "Expected lengths of at least 1 for packed sequences; got 0 or less. Leave out sequences without values, or "
        "pack lengths.clamp(min=1)."
    ),
    r"(?:Attempted to use an uninitialized parameter|Can't access the shape of an uninitialized)": (
        "Expected layers that have got their shapes before pyro.module announces them; got a lazy one, such as "
        "nn.LazyLinear, that has not been called. Call it once with an example, or make it an attribute of an "
        "nn.Module whose methods are model and guide."
    ),
    r"(?:torch\.)?linalg[.\w]*:": (
        "Expected matrices that have a factorization, at all values of the latents; got one that has none: not "
        "positive definite, say. Add a small number to its diagonal, and bounds to what it is made of."
    ),
    r"Class values must be (?:non-negative|smaller than num_classes)": CATEGORIES,
    r"(?:Expected tensor for argument #1 'indices'.* but got (\S+)|one_hot is only applicable)": (
        "Expected categories as whole numbers of 64 bits; got others. Convert them with .long(), or .astype('int64')."
    ),
}
