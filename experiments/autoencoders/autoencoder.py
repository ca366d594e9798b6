"""How do an autoencoder's reconstructions of Fashion-MNIST sharpen with training, under either loss?

784-256-128-20-128-256-784, ReLU; test images beside their reconstructions after epochs 1, 10 and 100.
"""

from family import CrossEntropy, SquaredError, autoencoder
from ground import Ground, run

HIDDEN, LATENT_DIM = (256, 128), 20
PICTURES = (1, 10, 100)


def experiment(ground: Ground) -> None:
    for name, loss in {"cross-entropy": CrossEntropy, "squared error": SquaredError}.items():
        pair = autoencoder(loss(ground.event_shape), hidden=HIDDEN, latent_dim=LATENT_DIM)
        ground.fit(f"autoencoder 20, {name}", pair, epochs=PICTURES[-1], pictures=PICTURES)


if __name__ == "__main__":
    run(experiment, "fashion_mnist")
