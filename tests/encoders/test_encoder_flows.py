"""The bijections inside the flow encoders: Jacobians, inverses, and their gradients."""

import pytest
import torch

from pyro_vae import IAF
from pyro_vae.distributions.monotone import MARGIN, solve
from pyro_vae.encoders.householder import Reflection
from pyro_vae.encoders.iaf import Gates
from pyro_vae.encoders.planar import Plane
from pyro_vae.encoders.sylvester import Layer, frame

DIM = 5


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def gates(turned, features):
    order = range(DIM)[::-1] if turned else range(DIM)
    return Gates(IAF(3, DIM, hidden=(9, 8)).double().masked[turned], order, features)


# name: (make a step from parameters, the parameters)
STEPS = {
    "reflection": (Reflection.along, lambda: [normal(DIM)]),
    "plane": (Plane.of, lambda: [3 * normal(DIM), normal(DIM), normal(1)]),
    "layer of 3 units": (
        lambda normals, square, b: Layer(
            frame(normals), (square / 2).triu(), torch.diag_embed(b.tanh()) + square.T.triu(1), b
        ),
        lambda: [normal(3, DIM), normal(3, 3).tanh(), normal(3)],
    ),
    "gates": (lambda features: gates(0, features), lambda: [normal(32)]),
    "gates, order turned": (lambda features: gates(1, features), lambda: [normal(32)]),
}


@pytest.fixture(params=STEPS)
def make_and_parameters(request):
    make, parameters = STEPS[request.param]

    def seeded(*given):
        torch.manual_seed(1)  # the weights of masked networks
        return make(*given)

    return seeded, parameters()


def test_log_det_is_that_of_autograds_jacobian(make_and_parameters):
    make, parameters = make_and_parameters
    step, x = make(*parameters), normal(DIM)
    jacobian = torch.autograd.functional.jacobian(lambda point: step(point)[0], x)
    torch.testing.assert_close(step(x)[1].expand(()), torch.linalg.slogdet(jacobian).logabsdet)


def test_inverse_comes_back_with_the_same_log_det(make_and_parameters):
    make, parameters = make_and_parameters
    step, x = make(*parameters), 2 * torch.randn(7, DIM).double()
    y, log_det = step(x)
    back, log_det_there = step.inverse(y)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(log_det_there, log_det)


def test_inverse_has_exact_gradients(make_and_parameters):
    make, parameters = make_and_parameters
    parameters = [parameter.detach().requires_grad_() for parameter in parameters]
    assert torch.autograd.gradcheck(lambda y, *given: make(*given).inverse(y), [normal(DIM), *parameters])


def test_a_masked_step_turns_the_order():
    for turned, lower in ((0, True), (1, False)):
        step = gates(turned, normal(32))
        jacobian = torch.autograd.functional.jacobian(lambda x, step=step: step(x)[0], normal(DIM))
        above = jacobian.triu(1) if lower else jacobian.tril(-1)
        assert (above == 0).all()
        assert (jacobian - torch.diag(jacobian.diagonal())).any()


def test_a_plane_stays_a_bijection():
    u, w = 30 * torch.randn(1000, DIM), torch.randn(1000, DIM)
    plane = Plane.of(u, w, torch.zeros(1000, 1))
    assert (plane.w * plane.u).sum(-1).min() > -1 + MARGIN / 2
    across = u - (u * w).sum(-1, keepdim=True) * w / w.square().sum(-1, keepdim=True)
    torch.testing.assert_close(plane.u - across, w * (plane.u * w).sum(-1, keepdim=True) / w.square().sum(-1)[:, None])
    torch.testing.assert_close(Plane.of(0 * u, w, u[:, :1]).u, 0 * u, rtol=0, atol=1e-5)  # no push, no step


def test_frames_are_orthonormal():
    q = frame(torch.randn(7, 3, DIM))
    torch.testing.assert_close(q.mT @ q, torch.eye(3).expand(7, 3, 3))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.float64, 1e-11)])
def test_roots_are_found_everywhere(dtype, tolerance):
    """Also where the bijection is as flat, as far or as steep as it gets."""
    count = 100_000
    a = (30 * torch.randn(count, dtype=dtype)).clamp(min=MARGIN - 1)
    a[:1000] = MARGIN - 1
    b = torch.cat([torch.ones(count // 2, dtype=dtype), torch.rand(count // 2, dtype=dtype)])
    c, t = 3 * torch.randn(count, dtype=dtype), 10 * torch.randn(count, dtype=dtype)
    t[:100] = -c[:100]  # the flattest point
    found = solve(t + a * torch.tanh(b * t + c), a, b, c)
    assert (found - t).abs().max() < tolerance
