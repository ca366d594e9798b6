"""Reconstruction first and then the whole ELBO: better than the ELBO from the start, or than KL warm-up? MNIST."""

from family import vae
from ground import Ground, run

from pyro_vae import Bernoulli, KLWarmup, plots

FIRST, THEN = 5, 15  # epochs


def experiment(ground: Ground) -> None:
    lines = {}
    schedules = {  # KL weights of the stages, with their epochs
        "plain": [(1.0, FIRST + THEN)],
        "KL warm-up": [(KLWarmup(epochs=1 if ground.smoke else FIRST), FIRST + THEN)],
        "two stages": [(0.0, FIRST), (1.0, THEN)],
    }
    for name, stages in schedules.items():
        pair = vae(Bernoulli(ground.event_shape, mean=ground.mean), hidden=(400, 400), latent_dim=40)
        for i, (weight, epochs) in enumerate(stages):
            last = i == len(stages) - 1
            ground.fit(f"VAE 40, {name}", pair, epochs=epochs, kl_weight=weight, row=last)
        elbos = [entry["validation_elbo"] for entry in ground.histories[f"VAE 40, {name}"]]
        lines[name] = range(1, len(elbos) + 1), elbos
        ground.picture(f"VAE 40, {name}", pair)
    figure = plots.curves(lines, x_label="epoch", y_label="validation ELBO, nats per image")
    # While the rate does not count, the ELBO of the two stages is far below the others.
    figure.axes[0].set_ylim(lines["plain"][1][0], max(max(elbos) for _, elbos in lines.values()) + 5)
    ground.figure("validation ELBO", figure)


if __name__ == "__main__":
    run(experiment, "mnist", binarization="dynamic")
