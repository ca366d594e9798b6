"""Rounded codes: what comes back is the decoder's mean of them, files shrink with the step, damage is refused."""

import numpy as np
import pytest
import torch
from test_lossless import TwoLevels, small

import pyro_vae
from pyro_vae import GaussianEncoder, compress_lossy, decompress, decompress_lossy, encode, fit


@pytest.fixture(scope="module")
def trained():
    """Images of four smooth patterns, and a VAE that knows them."""
    torch.manual_seed(0)
    grid = torch.linspace(0, 3, 8)
    a, b = torch.rand(2, 300, 1, 1)
    x = ((torch.sin(grid * (1 + 2 * a) + 3 * b) * torch.cos(grid * b).mT + 1) * 15.5).round() / 31
    vae = small(pyro_vae.DiscretizedLogistic((8, 8), levels=32), shape=(8, 8), dim=4)
    fit(vae.model, vae.guide, x, epochs=25, batch_size=25, progress=False)
    return vae, x


def test_what_comes_back_is_the_mean_of_the_decoder_at_the_code(trained):
    vae, x = trained
    found = decompress_lossy(vae.model, vae.guide, compress_lossy(vae.model, vae.guide, x, step=1e-3))
    assert (found * 31 - (found * 31).round()).abs().max() < 1e-4
    with torch.no_grad():
        mean = vae.likelihood(vae.decoder(encode(vae.model, vae.guide, x)["z"])).mean
    assert (found - mean).abs().max() < 1.01 / 62 + 1e-3  # half a level, and the rounding of the code


def test_larger_steps_make_smaller_files_and_larger_errors(trained):
    vae, x = trained
    sizes, errors = [], []
    for step in (0.25, 1.0, 16.0):
        file = compress_lossy(vae.model, vae.guide, x, step=step)
        sizes.append(len(file))
        errors.append((decompress_lossy(vae.model, vae.guide, file) - x).square().mean().item())
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 2 * sizes[-1]
    assert errors[0] < errors[-1]
    assert errors[1] < 1.1 * errors[0]


def test_the_size_is_minus_log_p_of_the_rounded_code(trained):
    """By the normal distribution function, in float64."""
    vae, x = trained
    step = 0.5
    file = compress_lossy(vae.model, vae.guide, x, step=step)
    with torch.no_grad():
        q = vae.encoder(x)
    scales = step * q.base_dist.scale[:256].mean(0).double()
    steps = 2 ** ((4 * scales.log2()).round() / 4)
    code = (q.mean.double() / steps).round() * steps
    cells = torch.special.ndtr(code + steps / 2) - torch.special.ndtr(code - steps / 2)
    bits = -cells.log2().sum().item()
    assert 0 < 8 * len(file) - bits < 800 + 0.02 * bits


@pytest.mark.parametrize("make", [TwoLevels, lambda: mixture_pair()])
def test_other_latents(make):
    pair, x = make(), (torch.rand(40, 2, 3) < 0.3).to(torch.uint8)
    file = compress_lossy(pair.model, pair.guide, x)
    found = decompress_lossy(pair.model, pair.guide, file)
    assert (found.dtype, found.shape) == (x.dtype, x.shape)
    assert set(found.unique().tolist()) <= {0, 1}
    with pytest.raises(ValueError, match="Expected a lossless file; got a lossy one"):
        decompress(pair.model, pair.guide, file)
    for place in np.random.default_rng(0).integers(0, len(file), 50):
        damaged = bytearray(file)
        damaged[place] ^= 4
        with pytest.raises(ValueError, match=r"^Expected "):
            decompress_lossy(pair.model, pair.guide, bytes(damaged))


def mixture_pair():
    encoder = GaussianEncoder((2, 3), 3)
    return small(prior=pyro_vae.VampPrior(encoder, torch.rand(9, 2, 3), num_components=4), encoder=encoder)


def test_steps_that_are_not_positive_are_refused(trained):
    with pytest.raises(ValueError, match="Expected a finite step > 0"):
        compress_lossy(trained[0].model, trained[0].guide, trained[1], step=0.0)
