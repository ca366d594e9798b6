"""A distance between sets of images in the feature space of a small classifier trained here."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyro_vae import ConvEncoder, data

FEATURES = 64


def frechet_distance(features: nn.Module, images: Tensor, others: Tensor) -> float:
    """Frechet distance of images (N, C, H, W) to others, as normal distributions of their features.

    |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)), as in the FID, but of a small classifier trained here: not the FID.
    """
    (m, c), (n, d) = (moments(features, x) for x in (images, others))
    root = torch.linalg.eigvals(c @ d).real.clamp(min=0).sqrt().sum()
    return ((m - n).square().sum() + c.trace() + d.trace() - 2 * root).item()


@torch.no_grad()
def moments(features: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the features of images, in float64."""
    values = torch.cat([features(x) for x in images.split(1000)]).double()
    return values.mean(0), values.T.cov()


def classifier(event_shape: tuple[int, ...]) -> nn.Sequential:
    """Features of images, and classes from them; not trained."""
    features = nn.Sequential(ConvEncoder(event_shape, FEATURES, channels=(16, 32)), nn.ReLU())
    return nn.Sequential(features, nn.Linear(FEATURES, 10))


def classify(network: nn.Module, images: data.Data, *, epochs: int) -> None:
    """Train a classifier, the same way each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.reset_parameters()
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        for _ in range(epochs):
            for chosen in torch.randperm(len(images.train)).split(128):
                loss = functional.cross_entropy(network(images.train[chosen]), images.labels.train[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
