"""How many of its 100 latents does a 784-400-200-100 VAE on MNIST use?"""

from family import vae
from ground import Ground, run

from pyro_vae import Bernoulli, encode, plots

ACTIVE = 0.01  # variance over images of a latent's mean (Burda, Grosse, Salakhutdinov 2016)


def experiment(ground: Ground) -> None:
    likelihood = Bernoulli(ground.event_shape, mean=ground.mean)
    pair = ground.fit("VAE 100", vae(likelihood, hidden=(400, 200), latent_dim=100), epochs=12, pictures=[12])
    seen, shown = ground.data.test, ground.data.test[ground.shown]
    variance = encode(pair.model, pair.guide, seen)["z"].var(0)
    ground.numbers["active_latents"] = int((variance > ACTIVE).sum())
    # The five latents that move most, and the one that moves least.
    dims = variance.argsort(descending=True)[[0, 1, 2, 3, 4, -1]].tolist()
    ground.figure("traversals", plots.traversals(pair.model, pair.guide, shown[3:4], dims=dims))
    for path in ("linear", "sphere"):
        figure = plots.interpolations(pair.model, pair.guide, shown[:5], shown[5:], path=path)
        ground.figure(f"interpolations, {path}", figure)


if __name__ == "__main__":
    run(experiment, "mnist", binarization="dynamic")
