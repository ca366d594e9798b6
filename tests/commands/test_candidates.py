"""What a comparison compares, as it is typed, and that it goes on where it stopped."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from test_commands import OF_LABELS, _in_a_folder, refused, run

from pyro_vae.commands import train_candidates
from pyro_vae.commands.main import main
from pyro_vae.runs.candidates import candidate_parts

__all__ = ["_in_a_folder"]  # a fixture for all tests here

TINY = ["--epochs", "1", "--seeds", "1", "--num-samples", "5", "--num-images", "20", "--latent-dim", "2"]
TINY += ["--kl-warmup", "0", "--estimator", "guide"]
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
    said = refused(capsys, "compare", "--prior", "LARS", "IAF")
    assert "candidates for the prior; got --prior, which fixes it. Write --priors LARS IAF." in said
    said = refused(capsys, "compare", "--priors", "StandardNormal", "--prior=LARS", "--epochs", "2")
    assert said.endswith("Write --priors StandardNormal LARS.")
    both = ["--encoders", "IAF", "--encoder.num_transforms", "3", "--encoder", "IAF"]
    said = refused(capsys, "compare", *both)
    assert said.endswith("got --encoder.num_transforms, which fixes it. Write --encoders IAF:num_transforms=3.")


def test_arguments_beside_candidates_are_given_to_those_that_take_them(capsys):
    one = ["--encoders", "IAF+StandardNormal", "GaussianEncoder", "--encoder.num_transforms", "3", "5"]
    cure = "--encoders IAF:num_transforms=3+StandardNormal IAF:num_transforms=5+StandardNormal GaussianEncoder"
    assert refused(capsys, "compare", *one).endswith(f"Write {cure}.")
    said = refused(capsys, "compare", "--prior.num_components=7")  # of those by default
    assert said.endswith(
        "Write --priors StandardNormal GaussianMixture:num_components=7 VampPrior:num_components=7 CouplingFlow."
    )
    assert "Did you mean" in refused(capsys, "compare", "--encoders", "IAFF", "--encoder.num_transforms", "3")


def test_a_setting_of_several_words_is_one(capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("of_labels.py").write_text(OF_LABELS)
    np.savez("d.npz", images=np.random.default_rng(0).normal(size=(40, 3)), labels=np.arange(40) % 2)
    words = ["--data", "d.npz", "--model", "of_labels.Conditional", "--inputs", "x=images", "y=labels"]
    small = ["--epochs", "1", "--seeds", "1", "--num-samples", "5", "--latent-dim", "2"]
    run(capsys, "compare", *words, "--learning-rate", "1e-3", "1e-2", *small)
    assert [*finished()["log_marginal"]] == ["learning_rate=1e-3", "learning_rate=1e-2"]
    assert "x=images, y=labels" in finished()["protocol"]
    assert "one --order for all" in refused(capsys, "compare", "--order", "random", "ordered")


def test_arguments_reach_the_parts(capsys):
    run(capsys, "compare", "--priors", "GaussianMixture:num_components=3", "StandardNormal", *TINY, *SMALL)
    (settings,) = Path("comparison/runs").glob("GaussianMixture*/settings.yaml")
    assert "num_components: 3" in settings.read_text()


def test_an_interrupted_comparison_goes_on(capsys, monkeypatch):
    command = ["compare", "--priors", "StandardNormal", "DiagonalNormal", *TINY, *SMALL]
    trained = []
    train_run = train_candidates.train_run

    def interrupt_second(config, dataset, folder, **options):
        trained.append(folder.name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        train_run(config, dataset, folder, **options)

    monkeypatch.setattr(train_candidates, "train_run", interrupt_second)
    with pytest.raises(SystemExit):
        main(command)
    assert capsys.readouterr().err.startswith("\nstopped; the same command goes on from here.")
    assert "was there" in run(capsys, *command)
    assert trained == ["StandardNormal-seed0", "DiagonalNormal-seed0", "DiagonalNormal-seed0"]
    assert [*finished()["log_marginal"]] == ["StandardNormal", "DiagonalNormal"]
    assert run(capsys, *command).count("was there") == 2  # all of it: nothing is trained


def test_what_is_missing_is_made_in_other_processes_and_is_the_same(capsys):
    command = ["compare", "--priors", "StandardNormal", "DiagonalNormal", *TINY, *SMALL]
    run(capsys, *command)
    plain = finished()
    shutil.rmtree("comparison/runs/DiagonalNormal-seed0")
    Path("comparison/comparison.json").unlink()
    said = run(capsys, *command, "--jobs", "2")
    assert re.search(r"1/2  StandardNormal     seed 0 .* was there\n  2/2  DiagonalNormal     seed 0 .* s\n", said)
    for key in ("log_marginal", "differences", "runs", "failed"):
        assert finished()[key] == plain[key]
    about = json.loads(Path("comparison/runs/DiagonalNormal-seed0/run.json").read_text())
    assert about["working_directory"] == str(Path.cwd())
    assert "Expected jobs >= 1; got 0." in refused(capsys, *command, "--jobs", "0")


def test_who_fails_in_whatever_way_is_named_and_the_others_are_compared(capsys, monkeypatch):
    train_run = train_candidates.train_run

    def failing(config, dataset, folder, **options):
        if "Diagonal" in folder.name:
            raise TypeError("no number\nof this kind")
        train_run(config, dataset, folder, **options)

    monkeypatch.setattr(train_candidates, "train_run", failing)
    said = run(capsys, "compare", "--priors", "StandardNormal", "DiagonalNormal", *TINY, *SMALL)
    assert "DiagonalNormal     seed 0  failed: TypeError: no number of this kind" in said
    assert finished()["failed"] == {"DiagonalNormal": ["seed 0: TypeError: no number of this kind"]}
    assert [*finished()["log_marginal"]] == ["StandardNormal"]


def test_a_comparison_grows(capsys, monkeypatch):
    """One more candidate, one more seed: what is missing is trained; with fewer, nothing is replaced unasked."""
    command = ["compare", "--priors", "StandardNormal", "DiagonalNormal"]
    run(capsys, *command, *TINY, *SMALL)
    trained, train_run = [], train_candidates.train_run

    def noting(config, dataset, folder, **options):
        trained.append(folder.name)
        train_run(config, dataset, folder, **options)

    monkeypatch.setattr(train_candidates, "train_run", noting)
    run(capsys, *command, "LaplacePrior", *TINY, *SMALL)
    assert trained == ["LaplacePrior-seed0"]
    run(capsys, *command, "LaplacePrior", *TINY, *SMALL, "--seeds", "2")
    assert trained[1:] == ["StandardNormal-seed1", "DiagonalNormal-seed1", "LaplacePrior-seed1"]
    assert {entry["num_seeds"] for entry in finished()["log_marginal"].values()} == {2}
    assert "holds some already" in refused(capsys, *command, *TINY, *SMALL)


def test_a_failed_candidate_does_not_lose_the_others(capsys, monkeypatch):
    train_run = train_candidates.train_run

    def fails(config, dataset, folder, **options):
        if config.prior.class_path == "DiagonalNormal":
            raise FloatingPointError("NaN at site z")
        train_run(config, dataset, folder, **options)

    monkeypatch.setattr(train_candidates, "train_run", fails)
    out = run(capsys, "compare", "--priors", "DiagonalNormal", "StandardNormal", *TINY, *SMALL)
    assert "failed: NaN at site z" in out
    assert "Failed: DiagonalNormal, seed 0: NaN at site z" in out
    assert [*finished()["log_marginal"]] == ["StandardNormal"]
    assert "| DiagonalNormal | " in re.sub(" +", " ", Path("comparison/comparison.md").read_text())


def test_grids(capsys):
    """Each prior with each encoder, and values of a setting: named so that one reads them."""
    run(capsys, "compare", "--priors", "StandardNormal", "LaplacePrior", "--encoders", "IAF", *TINY, *SMALL)
    assert [*finished()["log_marginal"]] == ["StandardNormal+IAF", "LaplacePrior+IAF"]
    sizes = ["--latent-dim", "2", "3", "--batch-size", "64", "--out", "sizes"]
    run(capsys, "compare", *[word for word in TINY if word not in ("--latent-dim", "2")], *SMALL, *sizes)
    assert [*finished("sizes")["log_marginal"]] == ["latent_dim=2", "latent_dim=3"]
    assert "latent_dim: 3" in Path("sizes/runs/latent_dim=3-seed0/settings.yaml").read_text()
    components = ["--prior", "GaussianMixture", "--prior.num_components", "2", "3", "--out", "components"]
    run(capsys, "compare", *TINY, *SMALL, *components)
    assert [*finished("components")["log_marginal"]] == ["prior.num_components=2", "prior.num_components=3"]


def test_settings_of_a_run_are_where_a_comparison_starts_from(capsys):
    small = ["--latent-dim", "2", "--epochs", "1", "--network", "MLP", *SMALL]
    run(capsys, "train", "--prior", "LaplacePrior", *small, "--out", "run")
    config = ["--config", "run/settings.yaml", "--encoders", "GaussianEncoder", "FullRankEncoder"]
    run(capsys, "compare", *config, "--seeds", "1", "--num-samples", "5", "--num-images", "20")
    settings = Path("comparison/runs/FullRankEncoder-seed0/settings.yaml").read_text()
    assert "class_path: LaplacePrior" in settings
    assert "epochs: 1" in settings


def test_the_warm_up_is_over_after_half_of_a_short_run(capsys):
    few = [word for word in TINY if word not in ("--kl-warmup", "0")]
    out = run(capsys, "compare", "--priors", "StandardNormal", *few, *SMALL, "--epochs", "2", "--seeds", "1")
    assert "warm-up" not in out
    assert "kl_warmup: 1.0" in Path("comparison/runs/StandardNormal-seed0/settings.yaml").read_text()


@pytest.mark.filterwarnings("ignore:The KL warm-up takes")
def test_a_run_that_ended_in_its_warm_up_is_marked_wherever_it_is_shown(capsys):
    few = [word for word in TINY if word not in ("--kl-warmup", "0")]
    out = run(capsys, "compare", "--priors", "StandardNormal", *few, *SMALL, "--kl-warmup", "10")
    folder = Path("comparison/runs/StandardNormal-seed0")
    about = json.loads((folder / "run.json").read_text())
    assert about["warmed_up"] is False
    assert 0 < about["kl_weight"] < 0.11
    (evaluated,) = folder.glob("evaluation_guide_5x20of300.json")
    assert "still in its warm-up" in json.loads(evaluated.read_text())["notes"][0]
    assert "StandardNormal *" in out
    assert finished()["marked"] == ["StandardNormal"]
    for text in (out, Path("comparison/comparison.md").read_text()):
        assert f"* {folder}: KL weight of {about['kl_weight']:.3g} at the end of training" in text
    assert "still in its warm-up" in run(capsys, "evaluate", str(folder), "--num-samples", "5", "--num-images", "9")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--encoders", "IAF", "IAF"], "Expected different candidates; got one twice"),
        (["--data", "digits", "mnist"], "Expected one --data for all"),
        (["--encoders", "IAF", "--priors", "LARS+IAF"], "Expected one encoder in a candidate; got IAF and IAF"),
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
