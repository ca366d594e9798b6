"""Gaussian likelihood with learned variance against Bernoulli, on Fashion-MNIST: which pictures, which numbers?

The Gaussians see grey levels and the Bernoulli black or white pixels: their log p(x) cannot be compared (densities and
a probability), their reconstructions of the same images can.
"""

from family import vae
from ground import Ground, rebuild, run

from pyro_vae import Bernoulli, Gaussian, plots

EPOCHS, MIN_SCALE = 20, 1 / 256  # a grey level: below it a density only learns that pixels are rounded


def experiment(ground: Ground) -> None:
    rows = {"original": ground.grey[ground.shown]}
    choices = {
        "Bernoulli": Bernoulli(ground.event_shape, mean=ground.mean),
        "Gaussian, one scale": Gaussian(ground.event_shape, scale="shared", min_scale=MIN_SCALE),
        "Gaussian, scale per pixel": Gaussian(ground.event_shape, scale="per-pixel", min_scale=MIN_SCALE),
    }
    for name, likelihood in choices.items():
        ground.binarize("dynamic" if name == "Bernoulli" else "none")
        pair = ground.fit(f"VAE 20, {name}", vae(likelihood, hidden=(400,), latent_dim=20), epochs=EPOCHS)
        rows[name] = rebuild(pair, ground.data.test[ground.shown])
        ground.picture(f"VAE 20, {name}", pair)
    ground.figure("reconstructions", plots.image_rows(rows))


if __name__ == "__main__":
    run(experiment, "fashion_mnist")
