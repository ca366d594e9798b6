"""The whole step in one graph: Adam's numbers, its state, what it leaves to the plain path, and its products."""

import contextlib
import functools

import pyro
import pytest
import torch
from examples import Dropping, Own, bound, functions_with_params, patterns, vae
from pyro.infer import Trace_ELBO
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae import Bernoulli, CompiledELBO, LowRankGaussian, OneOptimizer, adam
from pyro_vae.compiled import matmul as products
from pyro_vae.compiled.cuda_graph import Captured
from pyro_vae.compiled.custom_ops import rows
from pyro_vae.compiled.matmul import products_by_onednn
from pyro_vae.compiled.torch_private import can_be_captured
from pyro_vae.pairs.modules import announcing
from pyro_vae.training.fused_step import FusedStep, adam_update
from pyro_vae.training.steps import Steps


@pytest.fixture(autouse=True)
def _scope():
    with pyro.get_param_store().scope():
        yield


def steps_of(pair, one, *, backend="eager", compiled=True, x=None, batch=8):
    data = pair.x if x is None else x
    objective = CompiledELBO(Trace_ELBO(), backend=backend) if compiled else Trace_ELBO()
    return Steps(*announcing(pair.model, pair.guide), one, objective, lambda chosen: data[chosen], full_batch=batch)


def train(make_optimizer, *, compiled, pair=None, count=7, dtype=torch.float32, **options):
    torch.manual_seed(0)
    pair = pair or bound(Own().to(dtype))
    one = OneOptimizer(make_optimizer, **options)
    steps = steps_of(pair, one, compiled=compiled, x=pair.x.to(dtype))
    for i in range(count):
        steps.take(torch.arange(8) + i)
    return steps, one, {name: p.detach().clone() for name, p in pyro.get_param_store().named_parameters()}


def groups(params):
    made = [{"params": params[::2], "lr": 0.02}, {"params": params[1::2], "betas": (0.8, 0.9), "eps": 1e-6}]
    return torch.optim.AdamW(made, lr=0.01, weight_decay=0.1)


SCHEDULE = {"make_scheduler": functools.partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=7)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("make", "options"),
    [
        (adam(0.01), {}),
        (adam(0.01, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.2), {"clip_norm": 3.0}),
        (lambda params: torch.optim.Adam(params, lr=0.01), {}),
        (groups, {}),
        (adam(0.01), SCHEDULE),  # changes learning rates and betas at each step
    ],
)
def test_the_parameters_are_those_of_torchs_adam(make, options, dtype):
    found = []
    for compiled in (False, True):
        with pyro.get_param_store().scope():
            steps, one, parameters = train(make, compiled=compiled, dtype=dtype, **options)
            found.append((parameters, one.get_state(), steps.read()))
    assert steps.fused.taken == 5  # all but the first two
    (plain, plain_state, plain_losses), (whole, state, losses) = found
    tolerance = {"rtol": 1e-4, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-6, "atol": 1e-8}
    torch.testing.assert_close(whole, plain, **tolerance)
    torch.testing.assert_close(state["parameters"], plain_state["parameters"], **tolerance)
    assert losses == pytest.approx(plain_losses, rel=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda params: torch.optim.SGD(params, lr=0.001),
        lambda params: torch.optim.Adam(params, amsgrad=True),
        lambda params: torch.optim.Adam(params, weight_decay=0.1),  # in the gradient
    ],
)
def test_other_optimizers_take_their_own_steps(make):
    found = []
    for compiled in (False, True):
        with pyro.get_param_store().scope():
            steps, _, parameters = train(make, compiled=compiled)
            found.append(parameters)
    assert steps.fused.taken == 0
    assert steps.recorded.num_graphs == 1
    torch.testing.assert_close(found[1], found[0])


def test_parameters_of_the_store_alone_are_trained_by_it():
    found = []
    for compiled in (False, True):
        with pyro.get_param_store().scope():
            torch.manual_seed(1)
            steps, _, parameters = train(adam(0.01), compiled=compiled, pair=functions_with_params())
            found.append(parameters)
    assert steps.fused.taken == 5
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)


def test_a_run_resumes_exactly_from_a_saved_state():
    """States are torch's own, whichever way a step was taken; a state set later is met by a graph made anew."""
    torch.manual_seed(0)
    pair = bound(Own())
    one = OneOptimizer(adam(0.01))
    steps = steps_of(pair, one)

    def run(count):
        torch.manual_seed(5)
        for i in range(count):
            steps.take(torch.arange(8) + i)
        return {name: p.detach().clone() for name, p in pyro.get_param_store().named_parameters()}

    before, state = run(4), one.get_state()
    after = run(3)
    with torch.no_grad():
        for name, p in pyro.get_param_store().named_parameters():
            p.copy_(before[name])
    one.set_state(state)
    assert all(map(torch.equal, run(3).values(), after.values()))
    assert steps.fused.taken == 2 + 3 + 3


def test_smaller_batches_and_a_frozen_parameter_are_stepped_by_the_same_optimizer():
    torch.manual_seed(0)
    pair, one = bound(Own()), OneOptimizer(adam(0.01))
    steps = steps_of(pair, one)
    for count in (8, 8, 8, 5, 8):
        steps.take(torch.arange(count))
    assert steps.fused.taken == 2
    assert {float(state["step"]) for state in one.get_state()["parameters"].values()} == {5.0}
    bias = pair.model.__self__.decode[0].bias.requires_grad_(False)
    kept = bias.clone()
    for _ in range(4):
        steps.take(torch.arange(8))
    assert torch.equal(bias, kept)


def test_without_a_compiler_it_runs_operation_by_operation(monkeypatch):
    def fails(*_):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch._inductor, "compile", fails)
    found = []
    for compiled in (False, True):
        with pyro.get_param_store().scope():
            torch.manual_seed(0)
            steps = steps_of(bound(Own()), OneOptimizer(adam(0.01)), backend="inductor", compiled=compiled)
            warns = pytest.warns(RuntimeWarning, match="torch.compile failed with RuntimeError: no compiler")
            with warns if compiled else contextlib.nullcontext():
                for _ in range(4):
                    steps.take(torch.arange(8))
            found.append(steps.read())
    assert steps.fused.taken == 2
    assert found[1] == pytest.approx(found[0], rel=1e-5)


def test_the_update_is_the_formula_of_the_paper():
    rate, beta1, beta2, eps, t = 0.1, 0.9, 0.999, 1e-3, 3
    p, g, m, v = torch.randn(4, 5, dtype=torch.float64).unbind()
    v = v.square()
    settings = torch.tensor([rate, 1 - beta1, 1 - beta2, eps, 0.0], dtype=torch.float64)
    found = adam_update(settings, torch.tensor(float(t)))(p, g, m, v)
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    p = p - rate * (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + eps)
    torch.testing.assert_close(found, (p, m, v), rtol=1e-12, atol=0)


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() != "AVX512", reason="oneDNN is taken with AVX-512 alone")
def test_large_products_by_onednn_are_the_same(monkeypatch):
    monkeypatch.setattr(products, "LARGE", 100)
    linear, x, g = nn.Linear(9, 7), torch.randn(8, 9), torch.randn(8, 7)

    def forward_and_backward(x, weight, bias, g):
        out = torch.addmm(bias, x, weight.t())
        return [out.relu(), g @ weight, g.t() @ x, x[:2, :2] @ x[:2, :2]]

    arguments = x, linear.weight.detach(), linear.bias.detach(), g
    module = make_fx(forward_and_backward)(*arguments)
    products_by_onednn(module)
    targets = [node.target for node in module.graph.nodes]
    assert targets.count(torch.ops.pyro_vae.onednn_product.default) == 3
    assert targets.count(torch.ops.aten.mm.default) == 1  # too small
    for found, expected in zip(module(*arguments), forward_and_backward(*arguments), strict=True):
        torch.testing.assert_close(found, expected)


def test_images_changed_in_place_are_read_anew():
    found = []
    for compiled in (False, True):
        with pyro.get_param_store().scope():
            torch.manual_seed(0)
            pair, data = bound(Own()), patterns(24, (12,))
            steps = steps_of(pair, OneOptimizer(adam(0.1)), x=data, compiled=compiled)
            for i in range(6):
                data.copy_(data if i != 4 else 1 - data)
                steps.take(torch.arange(8))
            found.append(steps.read())
    assert found[0][4] > 1.1 * found[0][3]
    assert found[1] == pytest.approx(found[0], rel=1e-4)


@pytest.mark.parametrize("data", [torch.randn(5, 2, 3), torch.arange(10).reshape(5, 2), torch.randn(2, 5).t()])
def test_rows_are_those_that_indexing_gives(data):
    chosen = torch.tensor([4, 0, 4])
    found = rows(data, chosen)
    assert torch.equal(found, data[chosen])
    assert found.data_ptr() != data.data_ptr()
    recorded = make_fx(rows, tracing_mode="fake")(data, chosen)
    assert torch.equal(recorded(data, chosen), data[chosen])


def test_another_mode_in_between_is_noticed_by_the_next_unsettled_step():
    found = []
    for compiled in (False, True):
        with pyro.get_param_store().scope():
            torch.manual_seed(0)
            own = Dropping()
            steps = steps_of(bound(own), OneOptimizer(adam(0.01)), compiled=compiled)
            for i in range(10):
                own.train(i < 5)
                steps.take(torch.arange(8) + i)
            found.append({name: p.detach().clone() for name, p in pyro.get_param_store().named_parameters()})
    assert steps.fused.taken == 6  # the first two of each mode are plain
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


def test_data_outside_the_support_are_refused_in_a_fused_step_too():
    pair, data = vae("StandardNormal"), patterns(24, (3, 4)).round()
    data[20] = 3.0
    for compiled in (False, True):
        steps = steps_of(pair, OneOptimizer(adam(0.01)), x=data, compiled=compiled)
        for _ in range(4):
            steps.take(torch.arange(8))
        state = {name: p.detach().clone() for name, p in pyro.get_param_store().named_parameters()}
        with pytest.raises(ValueError, match="support"):
            steps.take(torch.arange(16, 24))
        for name, p in pyro.get_param_store().named_parameters():
            assert torch.equal(p, state[name])
    assert steps.fused.taken == 3  # the last one changed nothing


# On a GPU, as far as it can be tried without one


def test_moments_on_another_device_than_the_parameters_are_left_to_torch():
    """On a GPU, torch's Adam keeps its count of steps on the CPU unless it is fused or capturable."""
    pair, one = bound(Own()), OneOptimizer(adam(0.01))
    steps = steps_of(pair, one)
    for _ in range(2):
        steps.take(torch.arange(8))
    assert FusedStep(steps.recorded, one).graph_for(torch.arange(8)) is not None
    for state in one.optimizer.state.values():
        state["step"] = state["step"].to("meta")
    assert FusedStep(steps.recorded, one).graph_for(torch.arange(8)) is None


@pytest.mark.parametrize(("likelihood", "expected"), [(Bernoulli, True), (LowRankGaussian, False)])
def test_what_reads_a_value_from_the_gpu_is_not_captured(likelihood, expected):
    pair = vae("StandardNormal", likelihood=likelihood)
    steps = steps_of(pair, OneOptimizer(adam(0.01)))
    for _ in range(3):
        steps.take(torch.arange(8))
    graph, _ = steps.recorded.graph_for(torch.arange(8))
    assert can_be_captured(graph.module) == expected


class Tape:
    """Stands in for a CUDA graph: notes what is run while it is recorded, and runs it when replayed."""

    def replay(self):
        for operation in self.operations:
            operation()


def test_a_captured_step_runs_once_a_call_on_the_tensors_that_change(monkeypatch):
    tapes = []

    @contextlib.contextmanager
    def recording(tape):
        tape.operations = []
        tapes.append(tape)
        yield
        tapes.pop()

    none = contextlib.nullcontext()
    stand_ins = {"CUDAGraph": Tape, "graph": recording, "device": lambda _: none, "stream": lambda _: none}
    stream = type("Stream", (), {"wait_stream": lambda *_: None})
    for name, stand_in in (stand_ins | {"Stream": stream, "current_stream": stream}).items():
        monkeypatch.setattr(torch.cuda, name, stand_in)

    weight, result = torch.ones(3), torch.zeros(3)

    def step(chosen, weight):
        def operation():
            weight.add_(chosen)
            result.copy_(weight)

        tapes[-1].operations.append(operation) if tapes else operation()
        return [result]

    captured = Captured(step, changing=[0])
    for number in range(1, 5):
        (found,) = captured(torch.full((3,), float(number)), weight)
        assert torch.equal(found, torch.full((3,), 1.0 + number * (number + 1) / 2))
    assert len(captured.graph.operations) == 1
