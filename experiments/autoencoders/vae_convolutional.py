"""How does a convolutional VAE with two latents learn thresholded MNIST, epoch by epoch?

Two strided convolutions, mirrored transposed ones, no batch normalization; trained and tested with one draw of
log p(x|z) + log p(z) - log q(z|x) for each image.
"""

import functools

import torch
from ground import Ground, run

from pyro_vae import VAE, Bernoulli, ConvDecoder, ConvEncoder, GaussianEncoder, StandardNormal, decode, plots

CHANNELS, EPOCHS = (16, 32), 20


def experiment(ground: Ground) -> None:
    torch.manual_seed(0)
    likelihood = Bernoulli(ground.event_shape, mean=ground.mean)
    encoder = GaussianEncoder(ground.event_shape, 2, network=functools.partial(ConvEncoder, channels=CHANNELS))
    decoder = ConvDecoder(2, likelihood.feature_shape, channels=CHANNELS[::-1])
    pair = VAE(StandardNormal(2), encoder, decoder, likelihood)
    fixed, frames, elbos = torch.randn(16, 2), [], []

    def each_epoch(epoch: int) -> None:
        elbos.append(ground.test_elbo(pair))
        images = decode(pair.model, {"z": fixed}, ground.grey)
        frame = plots.image_grid(images, columns=4, title=f"epoch {epoch:2d}, test ELBO {elbos[-1]:.1f}")
        frame.axes[0].title.set_size(18)  # legible in a small animation
        frames.append(frame)

    ground.fit("convolutional VAE 2", pair, epochs=EPOCHS, each_epoch=each_epoch, pictures=[EPOCHS])
    plots.save_gif(frames, ground.path("samples by epoch.gif"), dpi=40)
    ground.numbers["test_elbo_by_epoch"] = elbos
    line = {"test ELBO": (range(1, len(elbos) + 1), elbos)}
    ground.figure("test ELBO", plots.curves(line, x_label="epoch", y_label="nats per image"))
    ground.figure("transition", plots.manifold_figure(pair.model, pair.guide, ground.data.test))


if __name__ == "__main__":
    run(experiment, "mnist", binarization="threshold")
