"""What a comparison compares, as it is typed, and that it goes on where it stopped."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_commands import _in_a_folder, refused, run

from pyro_vae.commands import compare
from pyro_vae.commands.main import main
from pyro_vae.runs.candidates import candidate_parts

__all__ = ["_in_a_folder"]  # a fixture for all tests here

TINY = ["--epochs", "1", "--seeds", "1", "--num-samples", "5", "--num-images", "20", "--latent-dim", "2"]
TINY += ["--kl-warmup", "0"]
SMALL = ["--network.hidden", "[8]"]


def finished(folder="comparison"):
    return json.loads(Path(folder, "comparison.json").read_text())


def test_candidates_with_arguments():
    assert candidate_parts("IAF", "encoder") == ({"encoder": "IAF"}, {})
    names, values = candidate_parts("MLP:hidden=[4,5],activation=Tanh", "network")
    assert names == {"network": "MLP"}
    assert values == {"network.hidden": "[4,5]", "network.activation": "Tanh"}
    names, values = candidate_parts("UniformSphere+VonMisesFisherEncoder", "prior")
    assert names == {"prior": "UniformSphere", "encoder": "VonMisesFisherEncoder"}
    assert [*candidate_parts("MLP+GatedMLP", "network")[0]] == ["network", "decoder"]


@pytest.mark.parametrize(
    ("option", "candidates", "options"),
    [
        ("priors", ["StandardNormal", "GaussianMixture:num_components=3,covariance=full"], SMALL),
        ("likelihoods", ["DiscretizedLogistic:levels=17", "Categorical:levels=17"], SMALL),
        ("encoders", ["GaussianEncoder", "FullRankEncoder", "DirichletEncoder+DirichletPrior"], SMALL),
        ("networks", ["MLP:hidden=[8]", "ConvEncoder:channels=[4]+ConvDecoder:channels=[4]"], []),
    ],
)
def test_each_part_is_compared(capsys, option, candidates, options):
    run(capsys, "compare", f"--{option}", *candidates, *TINY, *options)
    assert [*finished()["log_marginal"]] == candidates


def test_the_next_step_is_offered_after_the_first_look_alone(capsys):
    np.save("own.npy", np.random.default_rng(0).integers(0, 2, (60, 4, 4)).astype(np.float32))
    few = ["--num-images", "5", "--epochs", "1", "--seeds", "1", "--num-samples", "5", "--kl-warmup", "0"]
    assert "mnist" not in run(capsys, "compare", "--priors", "StandardNormal", "--data", "own.npy", *few)


def test_the_part_that_varies_is_not_fixed(capsys):
    assert "Expected candidates for the prior; got --prior" in refused(capsys, "compare", "--prior", "LARS")
    both = ["--encoders", "IAF", "--encoder.num_transforms", "3", "--encoder", "IAF"]
    assert "candidates for the encoder; got --encoder.num_transforms" in refused(capsys, "compare", *both)


def test_arguments_reach_the_parts(capsys):
    run(capsys, "compare", "--priors", "GaussianMixture:num_components=3", "StandardNormal", *TINY, *SMALL)
    (settings,) = Path("comparison/runs").glob("GaussianMixture*/settings.yaml")
    assert "num_components: 3" in settings.read_text()


def test_an_interrupted_comparison_goes_on(capsys, monkeypatch):
    command = ["compare", "--priors", "StandardNormal", "DiagonalNormal", *TINY, *SMALL]
    trained = []
    train_run = compare.train_run

    def interrupt_second(config, dataset, folder, **options):
        trained.append(folder.name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        train_run(config, dataset, folder, **options)

    monkeypatch.setattr(compare, "train_run", interrupt_second)
    with pytest.raises(SystemExit):
        main(command)
    assert capsys.readouterr().err.startswith("\nstopped; the same command goes on from here.")
    assert "was there" in run(capsys, *command)
    assert trained == ["StandardNormal-seed0", "DiagonalNormal-seed0", "DiagonalNormal-seed0"]
    assert [*finished()["log_marginal"]] == ["StandardNormal", "DiagonalNormal"]
    assert "holds some already" in refused(capsys, *command)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--priors", "LARS", "--encoders", "IAF"], "Expected candidates for one part; got --priors and --encoders"),
        (["--encoders", "IAF:hiden=[3]"], "got 'hiden'. Did you mean hidden?"),
        (["--encoders", "IAF:hidden"], "Expected NAME:argument=value; got 'hidden'"),
        (["--encoders", "GaussianEncoder:a=1"], "Expected no argument of GaussianEncoder; got 'a'"),
        (["--encoders", "IAF+FullRankEncoder"], "Expected one encoder in a candidate; got IAF and FullRankEncoder"),
        (["--encoders", "IAF+Nobody"], "Expected the name of a part of this library after a plus"),
        (["--priors", "LARS", "LARS:truncation=100"], "Expected different candidates"),
        (["--priors", "StandardNormal", "UniformSphere"], "UniformSphere: Expected the guide of site 'z'"),
        (["--networks", "ConvEncoder"], "give another with --decoder, such as ConvDecoder"),
        (["--likelihoods", "Bernoulli", "Gaussian"], "without --binarization it is Bernoulli dynamic, Gaussian none"),
        (["--likelihoods", "Binomial:total_count=16", "Gaussian"], "got densities (Gaussian) and probabilities (Bin"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_training(capsys, arguments, message):
    assert message in refused(capsys, "compare", *arguments, *TINY)
    assert not Path("comparison").exists()
