"""What can be asked of any model/guide pair: its modules, its state, and its log-probabilities per image.

A pair is two callables ``model(x)`` and ``guide(x)``: bound methods of an ``nn.Module``, of a ``PyroModule``, or plain
functions that use ``pyro.module`` and ``pyro.param``. Nothing here requires one of this library's classes.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.nn import PyroModule, pyro_method
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

Callee = Callable[[Tensor], Any]


def modules_of(model: Callee, guide: Callee) -> dict[str, nn.Module]:
    """The modules behind a pair, by name.

    For bound methods (and callable modules) it is their module, "pair" when model and guide share it, else "model"
    and "guide". For plain functions these are the modules that their code refers to, by variable name.
    """
    owners = [_owner(model), _owner(guide)]
    if owners[0] is not None and owners[0] is owners[1]:
        return {"pair": owners[0]}
    found: dict[str, nn.Module] = {}
    for role, function, owner in zip(("model", "guide"), (model, guide), owners, strict=True):
        if owner is not None:
            found[role] = owner
        else:
            found.update(_referenced_modules(function))
    return found


def _owner(function: Callee) -> nn.Module | None:
    owner = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
    if isinstance(owner, nn.Module):
        return owner
    wrapped = getattr(function, "__wrapped__", None)  # under the effect handlers of functools.wraps
    return None if wrapped is None else _owner(wrapped)


def _referenced_modules(function: Callee) -> dict[str, nn.Module]:
    function = inspect.unwrap(function)
    if not inspect.isfunction(function):
        return {}
    variables = inspect.getclosurevars(function)
    return {
        name: value
        for name, value in {**variables.globals, **variables.nonlocals}.items()
        if isinstance(value, nn.Module)
    }


def is_bound(model: Callee, guide: Callee) -> bool:
    """Whether both are methods of modules (or callable modules), so that the modules hold all parameters."""
    return _owner(model) is not None and _owner(guide) is not None


def announcing(model: Callee, guide: Callee) -> tuple[Callee, Callee]:
    """The pair, made to announce its modules' parameters to Pyro, as ``SVI`` needs in order to train them.

    Without this, ``SVI.step`` on methods of an ``nn.Module`` silently trains nothing. A ``PyroModule`` announces its
    own inside ``pyro_method``; plain functions do it themselves and are returned as they are.
    """
    if _owner(model) is _owner(guide):  # one announcement a step is enough
        return _announcing(model, "pair"), _announcing(guide, None)
    return _announcing(model, "model"), _announcing(guide, "guide")


def _announcing(function: Callee, name: str | None) -> Callee:
    owner = _owner(function)
    if owner is None or isinstance(function, PyroModule):
        return function

    @functools.wraps(function)
    def announced(x: Tensor) -> Any:
        if isinstance(owner, PyroModule):  # not the method itself: it may stand under an effect handler
            return pyro_method(lambda _, x: function(x))(owner, x)
        if name is not None:
            for key, parameter in owner.named_parameters():
                if parameter.requires_grad:
                    pyro.param(f"{name}$$${key}", parameter)  # the name pyro.module would give
        return function(x)

    return announced


def with_store(function: Callee, state: Any) -> Callee:
    """Run a function with the parameters of a Pyro param-store state, leaving the caller's store as it was."""

    @functools.wraps(function)
    def stored(x: Tensor) -> Any:
        with pyro.get_param_store().scope({"params": dict(state["params"]), "constraints": dict(state["constraints"])}):
            return function(x)

    return stored


def get_state(modules: dict[str, nn.Module], store: Any) -> dict[str, Tensor]:
    """A copy of all that is trained: "NAME.KEY" for modules, "param.NAME" (unconstrained) for other parameters."""
    state = {f"{name}.{key}": value for name, m in modules.items() for key, value in m.state_dict().items()}
    state |= {f"param.{name}": p for name, p in _loose_parameters(modules, store).items()}
    return {key: value.detach().clone() for key, value in state.items()}


def set_state(modules: dict[str, nn.Module], store: Any, state: dict[str, Tensor]) -> None:
    """Put a state of `get_state` back, in place."""
    for name, m in modules.items():
        m.load_state_dict({key: state[f"{name}.{key}"] for key in m.state_dict()})
    with torch.no_grad():
        for name, p in _loose_parameters(modules, store).items():
            if f"param.{name}" in state:  # a parameter made since then keeps its value
                p.copy_(state[f"param.{name}"])


def _loose_parameters(modules: dict[str, nn.Module], store: Any) -> dict[str, Tensor]:
    held = {id(p) for m in modules.values() for p in m.parameters()}
    return {name: p for name, p in store.get_state()["params"].items() if id(p) not in held}


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """A random stream of its own that starts at seed, the global one left as it was; None keeps to the global one."""
    # A GPU that nothing has been put on yet has no stream to keep, and to ask for it would start it.
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices, enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
            if devices:
                torch.cuda.manual_seed_all(seed)
        yield


@contextmanager
def evaluating(model: Callee, guide: Callee) -> Iterator[None]:
    """Evaluation mode, no gradients, and a param store of its own; everything is as before afterwards."""
    modules = modules_of(model, guide)
    was_training = [m for module in modules.values() for m in module.modules() if m.training]
    # Methods of modules hold their parameters themselves; in the caller's store another model's parameters may stand
    # under the same names. Plain functions look theirs up in the caller's store.
    store = pyro.get_param_store()
    scope = store.scope() if is_bound(model, guide) else store.scope(store.get_state())
    try:
        for m in was_training:
            m.training = False
        with torch.no_grad(), scope:
            yield
    finally:
        for m in was_training:
            m.training = True


@dataclass(frozen=True)
class Scores:
    """Log-probabilities of one draw of the latents, in nats, each (B,) per image or (K, B) with K particles."""

    log_likelihood: Tensor  # of the observed sites, log p(x|z)
    log_prior: Tensor  # of the model's latent sites, log p(z)
    log_guide: Tensor  # of the guide's sites, log q(z|x)

    @property
    def log_weight(self) -> Tensor:
        """log p(x, z) - log q(z|x): the log importance weight, and one draw of the ELBO."""
        return self.log_likelihood + self.log_prior - self.log_guide

    @property
    def distortion(self) -> Tensor:
        """-log p(x|z): one draw of the distortion."""
        return -self.log_likelihood

    @property
    def rate(self) -> Tensor:
        """log q(z|x) - log p(z): one draw of the rate, whose mean is KL(q(z|x) || p(z))."""
        return self.log_guide - self.log_prior


def traces(model: Callee, guide: Callee, x: Tensor) -> tuple[poutine.Trace, poutine.Trace]:
    """Trace the guide and the model replayed against it, and check that they fit together.

    Raises:
        ValueError: a latent site that only one of the two has.
    """
    guide_trace = poutine.trace(guide).get_trace(x)
    model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(x)
    latent = {name for name, site in sample_sites(model_trace) if not site["is_observed"]}
    guided = {name for name, site in sample_sites(guide_trace) if not site["infer"].get("is_auxiliary")}
    if missing := sorted(latent - guided):
        raise ValueError(f"Expected the guide to sample every latent site of the model; it misses {missing}.")
    if surplus := sorted(guided - {name for name, _ in sample_sites(model_trace)}):
        raise ValueError(
            f"Expected every site of the guide in the model; the guide alone has {surplus}. Remove it, or mark it "
            f"with infer={{'is_auxiliary': True}}."
        )
    return model_trace, guide_trace


def score(model: Callee, guide: Callee, x: Tensor, *, num_particles: int | None = None) -> Scores:
    """Draw latents from the guide and score them, one number for each image and particle.

    Scales (KL weights, subsampling) are left out; masks count. With ``num_particles=K`` the latents of all particles
    are drawn at once in an outer plate at dim -2.

    Args:
        x: images (B, ...).
        num_particles: K; None for one draw without a particle dimension.

    Returns:
        Scores of shape (B,), or (K, B).

    Raises:
        ValueError: model and guide do not fit, or a site lies outside the plate over images, so that log p(x) of one
            image is not defined by it.
    """
    if num_particles is None:
        return score_traces(*traces(model, guide, x), shape=(len(x),))
    model, guide = in_particle_plate(model, num_particles), in_particle_plate(guide, num_particles)
    return score_traces(*traces(model, guide, x), shape=(num_particles, len(x)))


def score_traces(model_trace: poutine.Trace, guide_trace: poutine.Trace, *, shape: tuple[int, ...]) -> Scores:
    """`Scores` of given traces, each term of the given shape (B,) or (K, B)."""
    log_likelihood = log_prior = log_guide = torch.zeros(())
    for name, site in sample_sites(model_trace):
        term = site_log_prob(name, site, shape)
        if site["is_observed"]:
            log_likelihood = log_likelihood + term
        else:
            log_prior = log_prior + term
    for name, site in sample_sites(guide_trace):
        log_guide = log_guide + site_log_prob(name, site, shape)
    return Scores(*(term.expand(shape) for term in (log_likelihood, log_prior, log_guide)))


def in_particle_plate(function: Callee, num_particles: int) -> Callee:
    """The function with all its sites in an outer plate of particles at dim -2."""

    def vectorized(x: Tensor) -> Any:
        with pyro.plate("_particles", num_particles, dim=-2):
            return function(x)

    return vectorized


def sample_sites(trace: poutine.Trace) -> Iterator[tuple[str, Any]]:
    """The sample sites of a trace that carry a log-probability: no subsampling, no deterministic ones."""
    for name, site in trace.nodes.items():
        if site["type"] == "sample" and not site_is_subsample(site) and not site["infer"].get("_deterministic"):
            yield name, site


def site_log_prob(name: str, site: Any, shape: tuple[int, ...]) -> Tensor:
    """Unscaled, masked log-probability of one site for each image, of the given shape (B,) or (K, B)."""
    frames = site["cond_indep_stack"]
    if not any(frame.vectorized and frame.dim == -1 and frame.size == shape[-1] for frame in frames):
        raise ValueError(
            f"Expected site {name!r} inside the plate over images, pyro.plate('data', len(x), dim=-1); it is outside, "
            f"so log p(x) of one image is not defined."
        )
    log_prob: Tensor = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
    if site["mask"] is not None:
        log_prob = torch.where(torch.as_tensor(site["mask"], device=log_prob.device), log_prob, 0.0)
    if log_prob.dim() > len(shape):  # inner plates of the model, left of the images
        log_prob = log_prob.sum(tuple(range(log_prob.dim() - len(shape))))
    return log_prob.expand(shape)


@contextmanager
def train_mode(modules: dict[str, nn.Module]) -> Iterator[None]:
    """Training mode; each module's own mode is as before afterwards."""
    before = {m: m.training for module in modules.values() for m in module.modules()}
    for module in modules.values():
        module.train()
    try:
        yield
    finally:
        for m, training in before.items():
            m.training = training
