"""How do reconstructions and prior samples of a 784-128-20 VAE on Fashion-MNIST change from epoch 1 to 100?"""

from family import vae
from ground import Ground, run

from pyro_vae import Bernoulli

PICTURES = (1, 10, 100)


def experiment(ground: Ground) -> None:
    likelihood = Bernoulli(ground.event_shape, mean=ground.mean)
    pair = vae(likelihood, hidden=(128,), latent_dim=20)
    ground.fit("VAE 20", pair, epochs=PICTURES[-1], pictures=PICTURES)


if __name__ == "__main__":
    run(experiment, "fashion_mnist", binarization="dynamic")
