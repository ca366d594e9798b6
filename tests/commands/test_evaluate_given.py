"""`evaluate --given`: log p of some observed sites given others, of a run."""

import json

import numpy as np
import pytest
import torch

import pyro_vae
from pyro_vae import log_marginal
from pyro_vae.commands.main import main
from pyro_vae.evidence import LogMarginal

OWN = """
import pyro
import pyro.distributions as dist
import torch
from torch import nn


class Both(nn.Module):
    def __init__(self, event_shape, latent_dim):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.2))

    def model(self, x, y):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z[..., None, None, None].expand(*z.shape, 1, 2, 2), 1.0).to_event(3), obs=x)
            pyro.sample("y", dist.Normal(z, 0.5), obs=y)

    def guide(self, x, y):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(self.slope * (x.sum((-3, -2, -1)) + y), 0.5))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    (folder / "of_both.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        random = np.random.default_rng(0)
        np.savez("both.npz", images=random.random((40, 2, 2)), depth=random.random(40))
        words = "train --data both.npz --model of_both.Both --latent-dim 1 --inputs x=images y=depth --epochs 1"
        main([*words.split(), "--out", "run", "--compile", "false"])
        yield folder / "run"


@pytest.mark.parametrize(("given", "other"), [("y", "x"), ("x", "y")])
def test_the_number_is_that_of_python(run, given, other, capsys):
    main(["evaluate", str(run), "--given", given, "--num-samples", "50"])
    assert f"log p({other} | {given}) = " in (out := capsys.readouterr().out)
    assert "bits" not in out
    name = f"evaluation_auto_50x4__given-{given}"
    about = json.loads((run / f"{name}.json").read_text())
    assert (about["estimator_settings"]["given"], about["bound"]) == ([given], "none")
    assert "bits_per_dim" not in about
    trained = pyro_vae.load(run)
    same = log_marginal(trained.model, trained.guide, trained.data.given("test"), given=[given], num_samples=50)
    result = LogMarginal.load(run / name)
    assert torch.equal(result.log_prob, same.log_prob)
    assert result.quantity == same.quantity == f"log p({other} | {given})"


def test_compare_takes_what_is_asked_for(run, capsys):
    """A conditional density is compared by --given alone, and not taken for log p(x)."""
    main(["evaluate", str(run), "--given", "y", "--num-samples", "60"])
    with pytest.raises(SystemExit):
        main(["compare", str(run), "--out", "other"])
    assert "has no evaluation of --estimator auto" in capsys.readouterr().err
    main(["compare", str(run), "--given", "y", "--out", "comparison"])
    assert "log p(x | y)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--given", "depth"], "some of the sites that the model observes, ['x', 'y'], and not all; got ['depth']"),
        (["--given", "x", "y"], "some of the sites that the model observes, ['x', 'y'], and not all; got ['x', 'y']"),
        (
            ["--given", "y", "--estimator", "bidirectional"],
            "Expected --given with --estimator auto or guide or annealed",
        ),
    ],
)
def test_refused(run, words, said, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["evaluate", str(run), *words])
    assert exit.value.code == 2
    assert said in capsys.readouterr().err
