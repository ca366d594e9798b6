"""Does an autoencoder trained on noisy input and clean target remove noise that a plain one passes on?"""

import torch
from family import CrossEntropy, autoencoder
from ground import Ground, rebuild, run
from torch import Tensor, nn

from pyro_vae import plots

NOISE = 0.4  # standard deviation, on pixels in [0, 1]
EPOCHS = 20


class Noisy(nn.Module):
    """An encoder that sees its images under Gaussian noise while it is trained."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> torch.distributions.Distribution:
        return self.encoder(x + NOISE * torch.randn_like(x) if self.training else x)


def experiment(ground: Ground) -> None:
    noisy = ground.grey + NOISE * torch.randn(ground.grey.shape, generator=torch.Generator().manual_seed(0))
    rows = {"original": ground.grey[ground.shown], "noisy": noisy[ground.shown]}
    for name in ("denoising autoencoder", "plain autoencoder"):
        pair = autoencoder(CrossEntropy(ground.event_shape), hidden=(256, 128), latent_dim=30)
        if name.startswith("denoising"):
            pair.encoder = Noisy(pair.encoder)
        ground.fit(name, pair, epochs=EPOCHS)
        ground.row(name, pair, inputs=noisy, remark=", noisy input")
        rows[name] = rebuild(pair, rows["noisy"])
    ground.figure("reconstructions", plots.image_rows(rows))


if __name__ == "__main__":
    run(experiment, "fashion_mnist")
