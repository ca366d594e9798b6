"""Does dropout in the encoder's hidden layers help an autoencoder's reconstructions of unseen images?"""

from family import CrossEntropy, autoencoder
from ground import Ground, rebuild, run
from torch import nn

from pyro_vae import plots

RATES = (0.0, 0.2, 0.5)
EPOCHS = 40


def experiment(ground: Ground) -> None:
    rows = {"original": ground.grey[ground.shown]}
    losses = {}
    for rate in RATES:
        name = f"dropout {rate:g}"
        pair = autoencoder(
            CrossEntropy(ground.event_shape),
            hidden=(256, 128),
            latent_dim=64,
            activation=lambda rate=rate: nn.Sequential(nn.ReLU(), nn.Dropout(rate)),
        )
        rows[name] = rebuild(ground.fit(name, pair, epochs=EPOCHS), rows["original"])
        later = ground.histories[name][1:]  # the first epoch is far above the rest
        epochs = [entry["epoch"] for entry in later]
        losses[f"{name}, training"] = epochs, [entry["loss"] for entry in later]
        losses[f"{name}, validation"] = epochs, [-entry["validation_elbo"] for entry in later]
    ground.figure("reconstructions", plots.image_rows(rows))
    ground.figure("losses", plots.curves(losses, x_label="epoch", y_label="cross-entropy, nats per image"))


if __name__ == "__main__":
    run(experiment, "fashion_mnist")
