"""Trainings that start from the weights of a run, and parts that keep theirs, also across a stop and compiled."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from examples import small_mlp
from safetensors.torch import load_file
from torch import nn

from pyro_vae import VAE, Bernoulli, GaussianEncoder, StandardNormal, VampPrior, load
from pyro_vae.commands.main import main
from pyro_vae.runs.settings import read_settings
from pyro_vae.runs.starting_weights import freeze, start_from

SMALL = ["--latent-dim", "3", "--network", "MLP", "--network.hidden", "[8]", "--compile", "false"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "run"
    main(["train", *SMALL, "--epochs", "3", "--out", str(folder)])
    return folder


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


def weights(folder):
    return load_file(f"{folder}/weights.safetensors")


def losses(folder):
    lines = map(json.loads, Path(folder, "metrics.jsonl").read_text().splitlines())
    return [(line["loss"], line["validation_elbo"]) for line in lines]


def test_it_starts_where_the_run_has_ended_and_keeps_what_is_frozen(source, capsys):
    begun = ["--epochs", "1", "--init-from", str(source)]
    main(["train", *SMALL, *begun, "--freeze", "encoder", "likelihood", "--prior", "GaussianMixture", "--out", "a"])
    out = capsys.readouterr().out
    assert f"start  encoder, decoder, likelihood from {source}; with first weights: prior" in out
    before, after = weights(source), weights("a")
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]) == name.startswith(("encoder", "likelihood")), name
    about = json.loads(Path("a/run.json").read_text())
    frozen = sum(tensor.numel() for name, tensor in before.items() if name.startswith("encoder"))
    assert about["num_frozen"] == frozen
    assert about["init_from"]["taken"] == ["encoder", "decoder", "likelihood"]
    settings = yaml.safe_load(Path("a/settings.yaml").read_text())
    assert (settings["init_from"], settings["freeze"]) == (str(source), ["encoder", "likelihood"])
    assert not load("a").module.training


def test_a_stopped_training_goes_on_without_the_run_it_started_from(source):
    shutil.copytree(source, "from")
    words = [*SMALL, "--init-from", "from", "--freeze", "decoder"]
    main(["train", *words, "--epochs", "2", "--out", "whole"])
    main(["train", *words, "--epochs", "1", "--keep-checkpoint", "--out", "halves"])
    shutil.rmtree("from")
    main(["train", "--resume", "halves", "--epochs", "2"])
    assert losses("halves") == losses("whole")
    found, expected, first = weights("halves"), weights("whole"), weights(source)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(
        torch.equal(found[name], first[name]) == name.startswith("decoder") for name in first if "like" not in name
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--init-from", "nowhere"], "there is no folder nowhere."),
        (
            ["--init-from", "RUN", "--latent-dim", "4"],
            "of shape (8, 8) (torch.float32), as this model has it; got (6, 8)",
        ),
        (["--init-from", "RUN", "--network", "GatedMLP", "--freeze", "decoder"], "Expected the weights of decoder in"),
        (["--freeze", "encodr"], "such as prior, encoder, decoder, likelihood; got 'encodr'. Did you mean encoder?"),
        (["--freeze", "encoder", "decoder", "likelihood"], "Expected something to train; got"),
    ],
)
def test_what_cannot_start_is_one_line_and_leaves_nothing(source, tmp_path, words, text, capsys):
    with pytest.raises(SystemExit):
        main(["train", *SMALL, *[str(source) if word == "RUN" else word for word in words], "--out", "new"])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert text in line
    assert not (tmp_path / "new").exists()


def test_columns_in_another_order_are_not_taken_for_those_of_the_run(capsys):
    """Neither by a training that starts from its weights, nor where both score the same data."""
    x = np.random.default_rng(0).normal(size=(40, 3))
    for name, header in (("a", "height,weight,age"), ("b", "weight,height,age")):
        np.savetxt(f"{name}.csv", x, delimiter=",", header=header, comments="")
    words = [*SMALL, "--likelihood", "Gaussian", "--epochs", "1"]
    main(["train", "--data", "a.csv", *words, "--out", "a"])
    main(["train", "--data", "b.csv", *words, "--seed", "1", "--out", "b"])
    np.save("nameless.npy", x)
    main(["train", "--data", "nameless.npy", *words, "--init-from", "a", "--out", "c"])
    capsys.readouterr()
    for command in (
        ["train", "--data", "b.csv", *words, "--init-from", "a", "--out", "d"],
        ["score", "b", "--also", "a"],
    ):
        with pytest.raises(SystemExit):
            main(command)
        assert "column 1 is 'height' there and 'weight' here. " in capsys.readouterr().err
    assert not Path("d").exists()


def test_settings_of_earlier_runs_do_not_name_what_came_later(source):
    lines = (source / "settings.yaml").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("init_from", "freeze", "num_train"))]
    assert len(kept) == len(lines) - 3
    Path("settings.yaml").write_text("\n".join(kept))
    assert (found := read_settings(source / "settings.yaml")).freeze == []
    assert read_settings(Path("settings.yaml")) == found


def test_a_shared_encoder_is_taken_once(source):
    encoder = GaussianEncoder((1, 8, 8), 3, network=lambda i, o: small_mlp(i, o, hidden=(8,)))
    decoder, likelihood = small_mlp(3, (1, 8, 8), hidden=(8,)), Bernoulli((1, 8, 8))
    vae = VAE(VampPrior(encoder, torch.rand(20, 1, 8, 8), num_components=2), encoder, decoder, likelihood)
    start = start_from(source, vae, needed=["encoder"])
    assert start.fresh == ("prior",)
    for name, tensor in load(source).module.encoder.state_dict().items():
        assert torch.equal(vae.prior.encoder.state_dict()[name], tensor)
    assert freeze(vae, ["encoder"]) == sum(p.numel() for p in encoder.parameters())
    assert freeze(vae, ["prior.encoder"]) == 0  # it is the same
    assert vae.prior.pseudo_inputs.requires_grad


def test_paths_lead_into_any_module():
    module = nn.Sequential(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), nn.Linear(2, 2))
    assert freeze(module, ["0.0.bias", "0.1"]) == 2 + 4
    assert [name for name, p in module.named_parameters() if p.requires_grad] == ["0.0.weight", "1.weight", "1.bias"]
    assert (module.training, module[0].training, module[0][1].training) == (True, True, False)


def test_a_run_of_another_class_has_nothing_to_give(source):
    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(2, 2)

    with pytest.raises(ValueError, match=r"Expected the weights of net in .*; got others"):
        start_from(source, Other())


def test_normal_priors_have_no_weights_to_lack(source):
    encoder = GaussianEncoder((1, 8, 8), 3, network=lambda i, o: small_mlp(i, o, hidden=(8,)))
    vae = VAE(StandardNormal(3), encoder, small_mlp(3, (1, 8, 8), hidden=(8,)), Bernoulli((1, 8, 8)))
    assert start_from(source, vae).fresh == ()
    assert all(torch.equal(vae.state_dict()[name], tensor) for name, tensor in weights(source).items())
