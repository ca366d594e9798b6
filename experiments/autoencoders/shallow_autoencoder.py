"""Does a shallower autoencoder with a wider code, 784-256-64-256-784, do better on Fashion-MNIST?"""

from family import CrossEntropy, autoencoder
from ground import Ground, run

PICTURES = (1, 10)


def experiment(ground: Ground) -> None:
    pair = autoencoder(CrossEntropy(ground.event_shape), hidden=(256,), latent_dim=64)
    ground.fit("autoencoder 64", pair, epochs=PICTURES[-1], pictures=PICTURES)


if __name__ == "__main__":
    run(experiment, "fashion_mnist")
