"""The contract of a network, over every network of `examples.NETWORKS`."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import assert_gradients_reach_everything, assert_survives_a_file
from examples import NETWORKS, stirred
from pyro.infer import Trace_ELBO
from torch import nn

import pyro_vae
from pyro_vae import MLP, ConvDecoder, ConvEncoder, GatedMLP, ResNetDecoder, ResNetEncoder
from pyro_vae.compiled.elbo import CompiledELBO
from pyro_vae.networks import as_shape, count_parameters
from pyro_vae.networks.network import halvings, image_shape


@pytest.fixture(params=NETWORKS)
def example(request):
    make, in_shape, out_shape = NETWORKS[request.param]
    return stirred(make(in_shape, out_shape), scale=0.1), in_shape, out_shape


@pytest.mark.parametrize("leading", [(), (1,), (5,), (3, 5), (2, 3, 5), (0,), (3, 0)])
def test_any_leading_dimensions(example, leading):
    network, in_shape, out_shape = example
    assert network(torch.randn(*leading, *in_shape)).shape == (*leading, *out_shape)


def test_inputs_are_mapped_one_by_one(example):
    network, in_shape, _ = example
    x = torch.randn(3, 4, *in_shape)
    one_by_one = torch.stack([torch.stack([network(item) for item in row]) for row in x])
    torch.testing.assert_close(network(x), one_by_one)


def test_every_output_depends_on_every_parameter_or_some(example):
    network, in_shape, out_shape = example
    # Random weights on the outputs: no sum over them that could vanish.
    out = network(torch.randn(20, *in_shape))
    assert_gradients_reach_everything(network, (out * torch.randn(20, *out_shape)).sum())


def test_every_output_is_connected_to_the_input(example):
    network, in_shape, out_shape = example
    x = torch.randn(20, *in_shape)
    changed = (network(x) - network(x + torch.randn_like(x))).abs().amax(0)
    assert (changed > 0).all()
    assert changed.shape == out_shape


@pytest.mark.parametrize("name", NETWORKS)
def test_survives_a_file(name):
    make, in_shape, out_shape = NETWORKS[name]
    assert_survives_a_file(lambda: make(in_shape, out_shape), lambda network: network(torch.ones(2, *in_shape)))


def test_wrong_input_shape_is_an_error(example):
    network, in_shape, _ = example
    wanted = r"\(\.\.\., " + ", ".join(map(str, in_shape)) + r"\)"
    for wrong in ((5, *in_shape[:-1], in_shape[-1] + 1), in_shape[1:]):
        got = rf"\({', '.join(map(str, wrong))},?\)"
        with pytest.raises(
            ValueError, match=f"Expected input of shape {wanted} for {type(network).__name__}; got {got}"
        ):
            network(torch.zeros(wrong))


# Each network


def test_an_mlp_without_hidden_layers_is_linear():
    network, x, y = MLP((2, 3), 4, hidden=()), torch.randn(5, 2, 3), torch.randn(5, 2, 3)
    origin = network(torch.zeros(2, 3))
    torch.testing.assert_close(network(2 * x - 3 * y) - origin, 2 * (network(x) - origin) - 3 * (network(y) - origin))
    assert count_parameters(network) == 6 * 4 + 4


def test_an_mlp_is_the_formula():
    network, x = MLP(3, 2, hidden=(4,), activation=nn.Tanh), torch.randn(5, 3)
    first, second = (layer for layer in network.layers if isinstance(layer, nn.Linear))
    expected = torch.tanh(x @ first.weight.T + first.bias) @ second.weight.T + second.bias
    torch.testing.assert_close(network(x), expected)


def test_a_gated_mlp_is_the_formula():
    network, x = GatedMLP(3, 2, hidden=(4,)), torch.randn(5, 3)
    gated, last = network.layers[1].linear, network.layers[2]
    values, gates = gated.weight[:4], gated.weight[4:]
    hidden = (x @ values.T + gated.bias[:4]) * torch.sigmoid(x @ gates.T + gated.bias[4:])
    torch.testing.assert_close(network(x), hidden @ last.weight.T + last.bias)


@pytest.mark.parametrize("image", [(1, 28, 28), (3, 32, 32), (3, 64, 64), (28, 20), (2, 3, 28, 28)])
@pytest.mark.parametrize(("encoder", "decoder"), [(ConvEncoder, ConvDecoder), (ResNetEncoder, ResNetDecoder)])
def test_defaults_fit_the_usual_images(encoder, decoder, image):
    x, z = torch.randn(1, *image), torch.randn(1, 6)
    assert encoder(image, (2, 3))(x).shape == (1, 2, 3)
    assert decoder(6, image)(z).shape == x.shape


def middle(layers):
    """All modules but the last, whose outputs begin small."""
    return nn.Sequential(*list(layers)[:-1])


@torch.no_grad()
@pytest.mark.parametrize("depth", [1, 10])
@pytest.mark.parametrize(
    "make",
    [
        lambda depth: MLP(300, 3, hidden=(300,) * depth),
        lambda depth: MLP(300, 3, hidden=(300,) * depth, activation=nn.Tanh),
        lambda depth: GatedMLP(300, 3, hidden=(300,) * depth),
        lambda depth: ResNetEncoder((16, 16, 16), 3, channels=(16,), num_blocks=depth),
        lambda depth: ResNetDecoder(300, (16, 16, 16), channels=(16,), num_blocks=depth),
    ],
    ids=["MLP", "MLP, tanh", "GatedMLP", "ResNetEncoder", "ResNetDecoder"],
)
def test_signals_keep_their_scale_at_any_depth(make, depth):
    """torch's own start, of standard deviation 1 / sqrt(3 fan-in), loses a factor of 6 at each ReLU."""
    network = make(depth)
    signal = middle(network.layers)(torch.randn(20, *network.in_shape)).square().mean()
    assert 0.1 < signal < 4


@torch.no_grad()
def test_deep_gates_do_not_drift():
    """Gates of unit scale blow a signal up by 10^3 over 30 layers, 10^9 over 60."""
    for _ in range(4):
        network = GatedMLP(100, 3, hidden=(100,) * 40)
        assert 0.03 < middle(network.layers)(torch.randn(20, 100)).square().mean() < 2


@torch.no_grad()
def test_convolutions_start_at_the_scale_of_their_inputs():
    """Strides of transposed convolutions count: an output meets a quarter of the kernel."""
    x, z = torch.randn(50, 8, 32, 32), torch.randn(50, 100)
    assert 0.7 < middle(middle(ConvEncoder((8, 32, 32), 4).layers)[:-1])(x).square().mean() < 1.3
    assert 0.7 < middle(ConvDecoder(100, (8, 32, 32)).layers)(z).square().mean() / 0.5 < 1.3
    assert 0.005 < ConvDecoder(100, (8, 32, 32))(z).square().mean() < 0.02  # outputs start at a tenth


def test_a_residual_block_is_the_formula():
    block, x = ResNetEncoder((3, 8, 8), 2, channels=(4,)).layers[3], torch.randn(2, 4, 4, 4)
    first, second = block.layers[1], block.layers[3]
    torch.testing.assert_close(block(x), x + block.scale * second(first(x.relu()).relu()))
    assert block.scale.item() == 1


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_learns_from_the_first_step(name):
    make, in_shape, out_shape = NETWORKS[name]
    network = make(in_shape, out_shape)
    out = network(torch.randn(20, *in_shape))
    assert_gradients_reach_everything(network, (out * torch.randn_like(out)).sum())


@pytest.mark.parametrize("image", [(1, 28, 28), (3, 7, 9), (1, 5, 4), (28, 20), (2, 3, 8, 6), (1, 4, 33)])
@pytest.mark.parametrize("channels", [(), (5,), (4, 3)])
def test_convolutions_fit_images_of_any_size(image, channels):
    x, z = torch.randn(2, *image), torch.randn(2, 6)
    assert ConvEncoder(image, (2, 3), channels=channels)(x).shape == (2, 2, 3)
    assert ConvDecoder(6, image, channels=channels)(z).shape == x.shape


def test_halvings_are_those_of_the_convolutions():
    for size in range(4, 40):
        sides = halvings(size, 2)
        x = torch.zeros(1, 1, size, size)
        for side in sides[1:]:
            x = nn.functional.conv2d(x, torch.ones(1, 1, 3, 3), stride=2, padding=1)
            assert x.shape[-1] == side


def test_parameters_are_counted_once_and_only_if_trained():
    shared = nn.Linear(3, 3)
    shared.bias.requires_grad_(False)
    assert count_parameters(nn.ModuleList([shared, shared])) == 9


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: as_shape(0), r"Expected a shape of sizes of at least 1; got \(0,\)\."),
        (lambda: as_shape(()), r"Expected a shape of sizes of at least 1; got \(\)\."),
        (lambda: MLP((3, -1), 2), r"Expected a shape of sizes of at least 1; got \(3, -1\)\."),
        (
            lambda: ConvEncoder(784, 3),
            r"Expected in_shape of an image, \(\.\.\., height, width\); got \(784,\)\. Use an MLP",
        ),
        (lambda: ConvDecoder(3, 784), r"Expected out_shape of an image, .* got \(784,\)\."),
        (lambda: ResNetEncoder(784, 3), r"Expected in_shape of an image, .* got \(784,\)\. Use an MLP"),
        (lambda: ResNetDecoder(3, (1, 8, 8), num_blocks=-1), r"Expected num_blocks >= 0; got -1\."),
        (
            lambda: ResNetDecoder(3, (1, 3, 8)),
            r"Expected an image side of at least 4 pixels for 2 strides of two; got 3\.",
        ),
        (
            lambda: ConvEncoder((1, 8, 3), 3),
            r"Expected an image side of at least 4 pixels for 2 strides of two; got 3\.",
        ),
        (
            lambda: ConvDecoder(3, (1, 3, 8)),
            r"Expected an image side of at least 4 pixels for 2 strides of two; got 3\.",
        ),
    ],
)
def test_errors_say_what_was_expected(build, text):
    with pytest.raises(ValueError, match=text):
        build()


def test_shapes():
    assert as_shape(40) == (40,)
    assert as_shape([1, 2]) == as_shape(np.array([1, 2])) == as_shape(torch.Size([1, 2])) == (1, 2)
    assert repr(as_shape(np.int64(40))) == "(40,)"
    for wrong in (2.5, "40", [1, 2.0], None):
        with pytest.raises(ValueError, match=r"^Expected a shape of whole numbers; got "):
            as_shape(wrong)
    assert image_shape((2, 3, 8, 6), "in_shape") == (6, 8, 6)


@pytest.mark.parametrize("name", NETWORKS)
def test_repr_builds_it_again(name):
    make, in_shape, out_shape = NETWORKS[name]
    network = make(in_shape, out_shape)
    again = eval(repr(network), {public: getattr(pyro_vae, public) for public in pyro_vae.__all__})
    assert [*map(repr, again.layers.modules())] == [*map(repr, network.layers.modules())]


def test_repr():
    assert repr(MLP(3, (2, 1), hidden=())) == "MLP((3,), (2, 1), hidden=())"
    assert repr(MLP(3, 2, activation=nn.Tanh)) == "MLP((3,), (2,), hidden=(300, 300), activation=Tanh)"
    assert repr(GatedMLP(3, 2, hidden=[4])) == "GatedMLP((3,), (2,), hidden=(4,))"
    assert repr(ConvEncoder((1, 8, 8), 2)) == "ConvEncoder((1, 8, 8), (2,), channels=(32, 64))"
    assert repr(ResNetDecoder(2, (8, 8))) == "ResNetDecoder((2,), (8, 8), channels=(64, 32), num_blocks=1)"


def test_recorded_steps_are_the_plain_ones(example):
    network, in_shape, out_shape = example
    recorded, found = CompiledELBO(Trace_ELBO(), backend="eager"), []

    def model(x):
        pyro.module("network", network)
        with pyro.plate("data", len(x), dim=-1):
            px = dist.Normal(network(x), 1.0).to_event(len(out_shape))
            pyro.sample("y", px, obs=x.new_zeros(len(x), *out_shape))

    def guide(x):
        """No latents."""

    with pyro.get_param_store().scope():
        for elbo in (Trace_ELBO(), recorded, recorded, recorded):
            network.zero_grad()
            loss = torch.tensor(float(elbo.loss_and_grads(model, guide, torch.ones(3, *in_shape))))
            found.append([loss, *(parameter.grad.clone() for parameter in network.parameters())])
    assert recorded.num_graphs == 1
    for one in found[1:]:
        torch.testing.assert_close(one, found[0])
