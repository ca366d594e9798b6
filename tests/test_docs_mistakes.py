"""The table of mistakes in docs/own-models.md: each is refused before the first step, with the words printed there."""

import re
from functools import partial
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vae import MLP, fit, log_marginal

PAGE = (Path(__file__).parent.parent / "docs/own-models.md").read_text()
SHAPE = (1, 8, 8)


class Pair(nn.Module):
    """A pair as in the README, with one mistake at a time."""

    def __init__(self, of=8, prior=None, to_event=3, observed=True, scale=torch.exp, extra=None):
        super().__init__()
        self.encoder, self.decoder = MLP(SHAPE, (2, 8)), MLP(of, SHAPE)
        self.prior, self.to_event, self.observed, self.scale, self.extra = prior, to_event, observed, scale, extra

    def model(self, x):
        if self.extra is not None:
            self.extra()
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", self.prior or dist.Normal(x.new_zeros(self.decoder.in_shape), 1.0).to_event(1))
            px = dist.Bernoulli(logits=self.decoder(z)).to_event(self.to_event)
            pyro.sample("x", px, obs=x if self.observed else None)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            loc, raw = self.encoder(x).unbind(-2)
            pyro.sample("z", dist.Normal(loc, self.scale(raw)).to_event(1))


def trained(pair=None, x=None, **settings):
    pair = Pair() if pair is None else pair
    x = torch.rand(200, *SHAPE).round() if x is None else x
    return fit(pair.model, pair.guide, x, epochs=1, batch_size=64, progress=False, **settings)


def global_latent():
    pyro.sample("sigma", dist.LogNormal(0.0, 1.0))


def of_its_parameters():
    pair = Pair()
    return trained(pair, optimizer=torch.optim.Adam(pair.parameters()))


def grey():
    pair = Pair()
    with pytest.raises(ValueError, match="Expected data in the support of site 'x', 0 or 1"):
        log_marginal(pair.model, pair.guide, torch.rand(5, *SHAPE))
    return trained(pair, torch.rand(200, *SHAPE))


# By the beginning of the row in the table.
MISTAKES = {
    "no `.to_event` on x": lambda: trained(Pair(to_event=0)),
    "no `obs=x`": lambda: trained(Pair(observed=False)),
    "a latent outside the plate": lambda: trained(Pair(extra=global_latent)),
    "prior of one dimension": lambda: trained(Pair(prior=dist.Normal(0.0, 1.0))),
    "decoder built for 7": lambda: trained(Pair(of=7)),
    "a scale that can be negative": lambda: trained(Pair(scale=lambda raw: raw)),
    "grey pixels": grey,
    "whole numbers": lambda: trained(x=torch.zeros(200, *SHAPE).long()),
    "`optimizer=torch.optim.Adam": of_its_parameters,
    '`device="cuda"`': partial(trained, device="cuda"),
}


def rows():
    table = PAGE.partition("| mistake |")[2].partition("\n\n")[0]
    return [row.strip("| ").split(" | ") for row in table.splitlines()[2:]]


@pytest.mark.parametrize(("mistake", "message"), [row[:2] for row in rows()], ids=lambda text: text[:20])
def test_each_mistake_is_answered_as_the_page_says(mistake, message):
    (make,) = (make for beginning, make in MISTAKES.items() if mistake.startswith(beginning))
    if "cuda" in mistake and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises((ValueError, TypeError), match=re.escape(message.strip("`"))):
        make()


def test_all_mistakes_tried_are_in_the_table():
    assert len(rows()) == len(MISTAKES)
