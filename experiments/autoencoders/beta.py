"""Which rates and distortions does the weight beta of the KL term buy? MNIST, 784-400-20."""

from family import vae
from ground import Ground, run

from pyro_vae import Bernoulli, plots

BETAS, EPOCHS = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0), 12


def experiment(ground: Ground) -> None:
    rates, distortions = [], []
    for beta in BETAS:
        pair = vae(Bernoulli(ground.event_shape, mean=ground.mean), hidden=(400,), latent_dim=20)
        name = f"beta-VAE, beta {beta:g}"
        ground.fit(name, pair, epochs=EPOCHS, kl_weight=beta, pictures=[EPOCHS])
        best = max(
            ground.histories[name], key=lambda entry: -entry["validation_distortion"] - beta * entry["validation_rate"]
        )
        rates.append(best["validation_rate"])
        distortions.append(best["validation_distortion"])
    ground.numbers |= {"betas": BETAS, "rates": rates, "distortions": distortions}
    figure = plots.curves(
        {"trained with beta": (rates, distortions)},
        x_label="rate, nats per image",
        y_label="distortion, nats per image",
    )
    for beta, rate, distortion in zip(BETAS, rates, distortions, strict=True):
        figure.axes[0].annotate(f"  {beta:g}", (rate, distortion), va="bottom")
    figure.axes[0].margins(0.1)
    ground.figure("rate and distortion", figure)


if __name__ == "__main__":
    run(experiment, "mnist", binarization="dynamic")
