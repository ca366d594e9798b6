"""What does a VAE with two latents, 784-400-400-2, find in MNIST?"""

from family import vae
from ground import Ground, run

from pyro_vae import Bernoulli, encode, plots


def experiment(ground: Ground) -> None:
    likelihood = Bernoulli(ground.event_shape, mean=ground.mean)
    pair = ground.fit("VAE 2", vae(likelihood, hidden=(400, 400), latent_dim=2), epochs=30, pictures=[30])
    codes = encode(pair.model, pair.guide, ground.data.test)["z"]
    ground.figure("codes", plots.latent_scatter(codes, ground.labels, title="mean codes of the test images"))
    ground.figure("manifold", plots.manifold_figure(pair.model, pair.guide, ground.data.test))


if __name__ == "__main__":
    run(experiment, "mnist", binarization="dynamic")
