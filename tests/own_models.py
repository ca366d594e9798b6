"""A model of a user's own, as a file that the command line imports."""

SHIFTED = '''
import torch, pyro, pyro.distributions as dist
from torch import nn

class Shifted(nn.Module):
    """z ~ N(0, I), x ~ N(W z + a row of a table for y, 1)."""

    def __init__(self, event_shape, latent_dim, classes: int = 10):
        super().__init__()
        self.shape, size = tuple(event_shape), torch.Size(event_shape).numel()
        self.table, self.decoder = nn.Embedding(classes, size), nn.Linear(latent_dim, size)
        self.encoder, self.d = nn.Linear(size, latent_dim), latent_dim

    def model(self, x, y):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(self.d), 1.0).to_event(1))
            loc = (self.decoder(z) + self.table(y)).unflatten(-1, self.shape)
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(len(self.shape)), obs=x)

    def guide(self, x, y):
        with pyro.plate("data", len(x), dim=-1):
            loc = self.encoder(x.flatten(1) - self.table(y))
            pyro.sample("z", dist.Normal(loc, 0.9).to_event(1))
'''
