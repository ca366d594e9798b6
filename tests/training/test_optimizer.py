"""OneOptimizer moves parameters as torch's own optimizer does, resumes exactly and never takes a bad step."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import nn
from torch.distributions import constraints

from pyro_vae.training.optimizer import NonFiniteGradient, OneOptimizer, adam

DATA = torch.linspace(-1.0, 2.0, 12)


@pytest.fixture(autouse=True)
def _scope():
    with pyro.get_param_store().scope():
        yield


def model(data):
    loc = pyro.param("loc", torch.tensor(0.3))
    scale = pyro.param("scale", torch.tensor(2.0), constraint=constraints.positive)
    with pyro.plate("data", len(data)):
        pyro.sample("x", dist.Normal(loc, scale), obs=data)


def guide(data):
    pass


def run(optimizer, steps, fn=model):
    svi = SVI(fn, guide, optimizer, Trace_ELBO())
    return [svi.step(DATA) for _ in range(steps)]


def unconstrained():
    return {name: p.detach().clone() for name, p in pyro.get_param_store().named_parameters()}


def hand_written(steps, make, clip_norm=None, make_scheduler=None):
    """The same training in plain torch."""
    loc, log_scale = nn.Parameter(torch.tensor(0.3)), nn.Parameter(torch.tensor(2.0).log())
    optimizer = make([loc, log_scale])
    scheduler = make_scheduler(optimizer) if make_scheduler else None
    for _ in range(steps):
        optimizer.zero_grad()
        loss = -torch.distributions.Normal(loc, log_scale.exp()).log_prob(DATA).sum()
        loss.backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_([loc, log_scale], clip_norm)
        optimizer.step()
        if scheduler:
            scheduler.step()
    return {"loc": loc.detach(), "scale": log_scale.detach()}


def decay(optimizer):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)


@pytest.mark.parametrize(
    ("make", "clip_norm", "make_scheduler"),
    [
        (adam(0.05), None, None),
        (adam(0.05, weight_decay=0.1), 0.5, decay),
        (lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.9), 2.0, None),
    ],
)
def test_same_parameters_as_plain_torch(make, clip_norm, make_scheduler):
    run(OneOptimizer(make, clip_norm=clip_norm, make_scheduler=make_scheduler), 25)
    expected = hand_written(25, make, clip_norm, make_scheduler)
    for name, value in unconstrained().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-6)


def test_matches_pyros_own_adam():
    run(pyro.optim.Adam({"lr": 0.05}), 25)
    expected = unconstrained()
    pyro.clear_param_store()
    run(OneOptimizer(adam(0.05)), 25)
    for name, value in unconstrained().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-6)


def test_one_torch_optimizer_in_the_order_of_names():
    optimizer = OneOptimizer(adam())
    run(optimizer, 1)
    (group,) = optimizer.optimizer.param_groups
    store = pyro.get_param_store()
    assert [store.param_name(p) for p in group["params"]] == ["loc", "scale"]


def growing(data):
    model(data)
    growing.calls += 1
    if growing.calls > 4:
        with pyro.plate("more", 3):
            pyro.sample("y", dist.Normal(pyro.param("a_late", torch.tensor(5.0)), 1.0), obs=torch.zeros(3))


def test_a_parameter_met_later_joins_and_the_others_keep_their_state():
    growing.calls = 0
    optimizer = OneOptimizer(adam(0.05), make_scheduler=decay)
    run(optimizer, 10, growing)
    values = unconstrained()
    expected = hand_written(10, adam(0.05), make_scheduler=decay)
    for name in ("loc", "scale"):
        torch.testing.assert_close(values[name], expected[name], rtol=1e-6, atol=1e-6)
    assert values["a_late"] < 4.99
    assert optimizer.optimizer.param_groups[0]["lr"] == pytest.approx(0.05 * 0.9**10)
    late = pyro.get_param_store()["a_late"]
    assert optimizer.optimizer.state[late]["step"] == 6


@pytest.mark.parametrize("fresh", [True, False])
def test_resumes_exactly(fresh, tmp_path):
    def make():
        return OneOptimizer(adam(0.05), make_scheduler=decay, clip_norm=3.0)

    optimizer = make()
    run(optimizer, 7)
    optimizer.save(tmp_path / "optimizer")
    params = {name: value.detach().clone() for name, value in pyro.get_param_store().items()}
    losses, expected = run(optimizer, 7), unconstrained()

    if fresh:
        optimizer = make()
    for name, p in pyro.get_param_store().named_parameters():
        transform = {"loc": lambda v: v, "scale": torch.log}[name]
        p.data.copy_(transform(params[name]))
    optimizer.load(tmp_path / "optimizer")
    assert run(optimizer, 7) == pytest.approx(losses, rel=1e-6)
    for name, value in unconstrained().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-6)


def test_a_saved_state_is_a_copy():
    optimizer = OneOptimizer(adam(0.05))
    run(optimizer, 3)
    state = optimizer.get_state()
    assert set(state["parameters"]) == {"loc", "scale"}
    run(optimizer, 3)
    assert state["parameters"]["loc"]["step"] == 3
    optimizer.set_state(state)
    run(optimizer, 3)
    assert state["parameters"]["loc"]["step"] == 3


def test_a_tensor_replaced_in_the_store_starts_afresh():
    optimizer = OneOptimizer(adam(0.05))
    run(optimizer, 3)
    pyro.get_param_store()["loc"] = torch.tensor(0.0)
    run(optimizer, 2)
    store = pyro.get_param_store()
    assert optimizer.optimizer.state[store["loc"]]["step"] == 2
    assert len(optimizer.optimizer.param_groups[0]["params"]) == 2
    assert store["loc"] != 0


def test_parameters_not_handed_over_stay_where_they_are():
    optimizer = OneOptimizer(adam(0.05))
    run(optimizer, 5)
    before = unconstrained()["scale"]

    def only_loc(data):
        with pyro.plate("data", len(data)):
            pyro.sample("x", dist.Normal(pyro.param("loc"), 1.0), obs=data)

    pyro.get_param_store().named_parameters()
    dict(pyro.get_param_store().named_parameters())["scale"].grad = torch.tensor(1.0)
    run(optimizer, 3, only_loc)
    assert unconstrained()["scale"] == before


def poisoned(data):
    model(data)
    with pyro.plate("data_2", len(data)):
        loc = pyro.param("bad", torch.tensor(1.0)) * poisoned.factor
        pyro.sample("y", dist.Normal(loc, 1.0, validate_args=False), obs=data)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.filterwarnings("ignore:Encountered NaN", "ignore:Encountered .*inf")
def test_a_non_finite_gradient_raises_before_any_parameter_moves(factor, clip_norm):
    poisoned.factor = 1.0
    optimizer = OneOptimizer(adam(0.05), clip_norm=clip_norm)
    run(optimizer, 2, poisoned)
    before = unconstrained()
    poisoned.factor = factor
    with pytest.raises(NonFiniteGradient, match=r"Expected a finite gradient; got NaN or infinity in bad, step 3"):
        run(optimizer, 1, poisoned)
    assert unconstrained() == before
    assert not optimizer.last_grad_norm.isfinite()
    poisoned.factor = 1.0
    run(optimizer, 1, poisoned)  # and training can go on
    assert all(value.isfinite() for value in unconstrained().values())


@pytest.mark.filterwarnings("ignore:Encountered NaN")
def test_a_deferred_check_skips_the_bad_step_and_raises_later():
    poisoned.factor = 1.0
    optimizer = OneOptimizer(adam(0.05), check_every=4)
    run(optimizer, 4, poisoned)
    before = unconstrained()
    poisoned.factor = float("nan")
    run(optimizer, 1, poisoned)
    assert unconstrained() == before
    poisoned.factor = 1.0
    run(optimizer, 2, poisoned)
    with pytest.raises(NonFiniteGradient, match="within the last 4 steps, step 8"):
        run(optimizer, 1, poisoned)
    assert all(value.isfinite() for value in unconstrained().values())
    optimizer.check()


def test_errors_say_what_was_expected():
    with pytest.raises(ValueError, match=r"Expected clip_norm > 0, or None for no clipping; got -1\."):
        OneOptimizer(adam(), clip_norm=-1)
    with pytest.raises(ValueError, match=r"Expected check_every >= 1; got 0\."):
        OneOptimizer(adam(), check_every=0)
    with pytest.raises(ValueError, match=r"Expected parameters of the current param store; got one of shape \(2,\)"):
        OneOptimizer(adam())({torch.zeros(2, requires_grad=True)})
    with pytest.raises(ValueError, match="got ReduceLROnPlateau"):
        run(OneOptimizer(adam(), make_scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau), 1)
