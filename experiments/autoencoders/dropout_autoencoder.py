"""Does dropout in the encoder's hidden layers help an autoencoder's reconstructions of unseen images?

On many training images, and on few, which it soon knows by heart.
"""

from family import CrossEntropy, autoencoder
from ground import Ground, rebuild, run
from torch import nn

from pyro_vae import plots

RATES = (0.0, 0.2, 0.5)
EPOCHS = {50_000: 10, 2_000: 200}  # by number of training images


def experiment(ground: Ground) -> None:
    for count, epochs in EPOCHS.items():
        ground.keep(count)
        rows, losses = {"original": ground.grey[ground.shown]}, {}
        for rate in RATES:
            name = f"dropout {rate:g}, {count:,} images"
            pair = autoencoder(
                CrossEntropy(ground.event_shape),
                hidden=(256, 128),
                latent_dim=64,
                activation=lambda rate=rate: nn.Sequential(nn.ReLU(), nn.Dropout(rate)),
            )
            rows[f"dropout {rate:g}"] = rebuild(ground.fit(name, pair, epochs=epochs), rows["original"])
            history = ground.histories[name]
            later = history[len(history) // 10 :]  # the first epochs are far above the rest
            for what, sign, key in (("training", 1, "loss"), ("validation", -1, "validation_elbo")):
                values = [sign * entry[key] for entry in later]
                losses[f"dropout {rate:g}, {what}"] = [entry["epoch"] for entry in later], values
        title = f"{count:,} training images"
        ground.figure(f"reconstructions, {count} images", plots.image_rows(rows, title=title))
        figure = plots.curves(losses, x_label="epoch", y_label="cross-entropy, nats per image", title=title)
        ground.figure(f"losses, {count} images", figure)


if __name__ == "__main__":
    run(experiment, "fashion_mnist")
