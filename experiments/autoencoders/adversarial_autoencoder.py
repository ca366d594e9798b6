"""Can a discriminator make the codes of MNIST follow any given prior: a normal one, or ten Gaussians on a ring?"""

import math

import torch
from family import CrossEntropy, pair_of
from ground import Ground, run
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from torch.nn import functional

from pyro_vae import MLP, GaussianMixture, PointEncoder, StandardNormal, encode, plots

HIDDEN, LATENT_DIM, EPOCHS = (400, 400), 2, 15
WEIGHT = 20.0  # of the adversarial loss, per image, beside reconstruction losses of about 130 nats
RADIUS, WIDTH = 3.0, 0.3  # of the ring, of each Gaussian on it
EDGE = 4.5  # of the figures of codes, so that they can be compared


class Adversarial(Trace_ELBO):
    """Reconstruction loss + WEIGHT * -log D(z); after each step, one of the discriminator D.

    D tells draws of the prior (1) from codes (0); the encoder is trained to be told wrong. To be used with KL weight
    0: the discriminator takes the place of the rate. (Makhzani and others 2015, "Adversarial autoencoders".)
    """

    def __init__(self, prior: nn.Module) -> None:
        super().__init__()
        self.prior, self.discriminator = prior, MLP(LATENT_DIM, 1, hidden=(256, 256))
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.losses: list[tuple[float, float]] = []  # of the discriminator and of the encoder, at each step

    def against(self, z: Tensor, target: float) -> Tensor:
        """Mean cross-entropy of the discriminator's verdict."""
        logits = self.discriminator(z)
        return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    def loss_and_grads(self, model, guide, x):
        guide_trace = poutine.trace(guide).get_trace(x)
        z = guide_trace.nodes["z"]["value"]
        fooling = self.against(z, 1.0)
        loss = self.differentiable_loss(model, poutine.replay(guide, trace=guide_trace), x)
        (loss + len(x) * WEIGHT * fooling).backward()

        self.optimizer.zero_grad()
        telling = self.against(self.prior().sample((len(x),)), 1.0) + self.against(z.detach(), 0.0)
        telling.backward()
        self.optimizer.step()
        self.losses.append((telling.item(), fooling.item()))
        return loss.item()


def ring(dim: int) -> GaussianMixture:
    """Ten narrow Gaussians on a circle, not trained."""
    prior = GaussianMixture(dim, num_components=10).requires_grad_(False)
    angles = 2 * math.pi * torch.arange(10) / 10
    prior.loc.copy_(RADIUS * torch.stack([angles.cos(), angles.sin()], -1))
    prior.raw_scale.fill_(math.log(math.expm1(WIDTH)))
    return prior


def experiment(ground: Ground) -> None:
    for prior, limit in ((StandardNormal, 2.5), (ring, 4.0)):
        name = f"adversarial autoencoder, {'normal' if prior is StandardNormal else 'ring'}"
        pair = pair_of(PointEncoder, prior, CrossEntropy(ground.event_shape), hidden=HIDDEN, latent_dim=LATENT_DIM)
        objective = Adversarial(pair.prior)
        ground.fit(name, pair, epochs=EPOCHS, objective=objective, kl_weight=0.0, compile=False, pictures=[EPOCHS])
        codes = encode(pair.model, pair.guide, ground.grey)["z"]
        draws = pair.prior().sample((len(codes),))
        for what, z, labels in (("codes", codes, ground.labels), ("prior", draws, None)):
            figure = plots.latent_scatter(z, labels, title=f"{name}, {what}")
            figure.axes[0].set(xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE))
            ground.figure(f"{name}, {what}", figure)
        ground.figure(f"{name}, manifold", plots.manifold_figure(pair.model, pair.guide, ground.grey, limit=limit))

        per_epoch = torch.tensor(objective.losses).chunk(len(ground.histories[name]))
        means = torch.stack([steps.mean(0) for steps in per_epoch]).T.tolist()
        losses = dict(zip(("discriminator", "encoder against it"), means, strict=True))
        ground.numbers[f"{name}, losses by epoch"] = losses
        lines = {role: (range(1, len(values) + 1), values) for role, values in losses.items()}
        ground.figure(f"{name}, losses", plots.curves(lines, x_label="epoch", y_label="cross-entropy, nats"))


if __name__ == "__main__":
    run(experiment, "mnist")
