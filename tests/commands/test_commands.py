"""The command line from end to end, as a user types it; small runs on the digits."""

import json
import re
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import pyro_vae
from pyro_vae.commands.main import commands, main

EVALUATED = "evaluation_auto_20x50of300"  # files of an evaluation with 20 samples for each of 50 images
SMALL = ["--epochs", "2", "--latent-dim", "3", "--network", "MLP", "--network.hidden", "[16]"]
OWN_CLASSES = """
import pyro
import pyro.distributions as dist
import torch
from torch import nn


class OwnModel(nn.Module):
    def __init__(self, event_shape, latent_dim, width: int = 16):
        super().__init__()
        self.decoder = nn.Sequential(nn.Linear(latent_dim, width), nn.Tanh(), nn.Linear(width, 64))
        self.encoder = nn.Linear(64, 2 * latent_dim)

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(self.decoder[0].in_features), 1.0).to_event(1))
            logits = self.decoder(z).unflatten(-1, (1, 8, 8))
            return pyro.sample("x", dist.Bernoulli(logits=logits).to_event(3), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            loc, log_scale = self.encoder(x.flatten(1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class CalledWithLabels(OwnModel):
    def model(self, x, y):
        return super().model(x)


class OwnPrior(nn.Module):
    def __init__(self, dim, spread: float = 1.0):
        super().__init__()
        self.loc, self.spread = nn.Parameter(torch.zeros(dim)), spread

    def forward(self):
        return dist.Normal(self.loc, self.spread).to_event(1)
"""

OF_LABELS = """
import pyro
import pyro.distributions as dist
import torch
from torch import nn


class Conditional(nn.Module):
    def __init__(self, event_shape, latent_dim):
        super().__init__()
        self.decoder, self.encoder = nn.Linear(latent_dim + 1, 3), nn.Linear(4, latent_dim)

    def model(self, x, y):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(self.encoder.out_features), 1.0).to_event(1))
            label = y.float()[:, None].expand(*z.shape[:-1], 1)
            pyro.sample("x", dist.Normal(self.decoder(torch.cat([z, label], -1)), 1.0).to_event(1), obs=x)

    def guide(self, x, y):
        with pyro.plate("data", len(x), dim=-1):
            loc = self.encoder(torch.cat([x, y.float()[:, None]], -1))
            pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))
"""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


def run(capsys, *arguments):
    """Standard output of a command."""
    main(list(arguments))
    return capsys.readouterr().out


def refused(capsys, *arguments):
    """The one line on standard error of a command that exits with code 2."""
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("pyro-vae: error: ")
    return line.removeprefix("pyro-vae: error: ")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two evaluated runs."""
    folder = tmp_path_factory.mktemp("trained")
    for prior in ("StandardNormal", "VampPrior"):
        extra = ["--prior.num_components", "5"] if prior == "VampPrior" else []
        main(["train", *SMALL, "--prior", prior, *extra, "--out", str(folder / prior)])
        main(["evaluate", str(folder / prior), "--num-samples", "20", "--num-images", "50"])
    return folder


def test_train_says_what_it_trains(capsys):
    out = run(capsys, "train", *SMALL, "--out", "said")
    assert "model  VAE, StandardNormal, Bernoulli, GaussianEncoder, MLP, Trace_ELBO: " in out
    assert "the latents hardly matter yet" in out  # after two epochs


def test_train_writes_a_run(trained):
    run_folder = trained / "VampPrior"
    names = {path.name for path in run_folder.iterdir()}
    assert {"settings.yaml", "run.json", "weights.safetensors", "metrics.jsonl", "training.png"} <= names
    settings = yaml.safe_load((run_folder / "settings.yaml").read_text())
    vamp_defaults = {"start": "data", "learn_inputs": True, "learn_weights": True, "seed": 0}
    assert settings["prior"] == {"class_path": "VampPrior", "init_args": {"num_components": 5, **vamp_defaults}}
    assert settings["network"]["init_args"]["hidden"] == [16]
    lines = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    about = json.loads((run_folder / "run.json").read_text())
    assert "binarization dynamic" in about["protocol"]
    assert about["finished"]


def test_evaluate_writes_numbers_with_their_errors_and_protocol(trained):
    about = json.loads((trained / "VampPrior" / f"{EVALUATED}.json").read_text())
    assert about["num_data_points"] == 50
    assert about["num_samples"] == 20
    assert about["standard_error_over_data_points"] > about["monte_carlo_error"] > 0
    assert "a random 50 (seed 0) of the test data" in about["protocol"]
    assert "Bernoulli" in about["likelihood"]
    with np.load(trained / "VampPrior" / f"{EVALUATED}.npz") as arrays:
        assert arrays["log_prob"].shape == arrays["ess"].shape == (50,)
        assert arrays["log_prob"].mean() == pytest.approx(about["log_marginal_nats_per_data_point"])


def test_settings_file_does_the_run_again(trained, capsys):
    source = trained / "VampPrior"
    run(capsys, "train", "--config", str(source / "settings.yaml"), "--out", "again")
    losses = [
        [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (source, Path("again"))
    ]
    assert losses[0] == losses[1]
    assert Path("again/settings.yaml").read_text() == (source / "settings.yaml").read_text()


def test_evaluate_again_gives_the_same_numbers(trained, capsys):
    folder = trained / "StandardNormal"
    before = (folder / f"{EVALUATED}.npz").read_bytes()
    out = run(capsys, "evaluate", str(folder), "--num-samples", "20", "--num-images", "50")
    assert "log p(x) = " in out
    assert "standard error over 50 data points" in out
    with np.load(folder / f"{EVALUATED}.npz") as arrays:
        again = arrays["log_prob"]
    (folder / f"{EVALUATED}.npz").write_bytes(before)
    with np.load(folder / f"{EVALUATED}.npz") as arrays:
        assert np.array_equal(arrays["log_prob"], again)


def test_compare_runs(trained, capsys):
    out = run(capsys, "compare", str(trained / "StandardNormal"), str(trained / "VampPrior"))
    assert re.search(r"StandardNormal +-\d+\.\d\d +\[-\d+\.\d\d, -\d+\.\d\d\]", out)
    assert "20 samples for each of 50 data points" in out
    assert "over data points alone (one seed)" in out
    assert "binarization dynamic" in out
    files = {f"comparison.{ending}" for ending in ("json", "md", "tex", "png")}
    files |= {"StandardNormal.png", "VampPrior.png"}
    for name in files:
        assert Path("comparison", name).stat().st_size > 0, name
    content = json.loads(Path("comparison/comparison.json").read_text())
    assert {entry["a"] for entry in content["differences"]} == {"StandardNormal"}
    loaded = pyro_vae.Comparison.load("comparison")
    assert loaded.to_markdown() == Path("comparison/comparison.md").read_text()
    assert loaded.to_latex() == Path("comparison/comparison.tex").read_text()


def test_compare_trains_what_it_compares(capsys):
    small = ["--epochs", "1", "--num-samples", "10", "--network.hidden", "[8]", "--latent-dim", "2", "--kl-warmup", "0"]
    small += ["--num-images", "10"]
    out = run(capsys, "compare", "--priors", "StandardNormal", "CouplingFlow", "--seeds", "2", *small)
    assert "4/4" in out
    assert "over data points and seeds" in out
    assert "next   pyro-vae compare --data mnist" in out
    content = json.loads(Path("comparison/comparison.json").read_text())
    assert {name: len(runs) for name, runs in content["runs"].items()} == {"StandardNormal": 2, "CouplingFlow": 2}
    assert "holds some already" in refused(capsys, "compare", "--priors", "StandardNormal", *small)


def test_compare_refuses_different_images(trained, capsys):
    run(capsys, "train", *SMALL, "--out", "other")
    assert "Run: pyro-vae evaluate other" in refused(capsys, "compare", str(trained / "VampPrior"), "other")
    run(capsys, "evaluate", "other", "--num-samples", "20", "--num-images", "50", "--seed", "1")
    assert "evaluated on the same data" in refused(capsys, "compare", str(trained / "VampPrior"), "other")


@pytest.mark.drawn
@pytest.mark.parametrize("command", ["sample", "reconstruct"])
def test_pictures(trained, capsys, command):
    count = "--num-samples" if command == "sample" else "--num-images"
    wide = ["--figure-width", "2.5"]
    out = run(capsys, command, str(trained / "VampPrior"), count, "10", "--out", "picture.png", *wide)
    assert "saved in picture.png" in out
    with Image.open("picture.png") as picture:
        assert (picture.format, picture.width) == ("PNG", 500)  # at 200 dots an inch
    again = refused(capsys, command, str(trained / "VampPrior"), count, "10", "--out", "picture.png")
    assert "is there already" in again
    assert "to be a file that ends in .png" in refused(
        capsys, command, str(trained / "VampPrior"), "--out", "picture.jpg"
    )


def test_own_classes_by_import_path(tmp_path, capsys):
    (tmp_path / "own_classes_of_a_user.py").write_text(OWN_CLASSES)
    small = ["--epochs", "1", "--latent-dim", "3", "--binarization", "dynamic"]
    assert "Expected data in the support of site 'x'" in refused(
        capsys, "train", *small[:-1], "none", "--model", "own_classes_of_a_user.OwnModel"
    )
    out = run(capsys, "train", *small, "--model", "own_classes_of_a_user.OwnModel", "--model.width", "5", "--out", "m")
    assert "own_classes_of_a_user.OwnModel" in out
    prior = ["--prior", "own_classes_of_a_user.OwnPrior", "--prior.spread", "2"]
    run(capsys, "train", *SMALL, *prior, "--out", "p")
    run(capsys, "evaluate", "m", "p", "--num-samples", "10", "--num-images", "30")
    assert "OwnModel" in run(capsys, "compare", "m", "p")
    np.savez("named.npz", images=np.zeros((20, 8, 8)), labels=np.arange(20) % 3, other=np.zeros(20))
    wrong = refused(capsys, "train", "--data", "named.npz", "--model", "own_classes_of_a_user.CalledWithLabels")
    assert "got images alone" in wrong
    assert "--inputs x=images y=labels; named has images, labels" in wrong
    wrong = refused(capsys, "train", "--model", "own_classes_of_a_user.OwnModel", "--model.width", "wide")
    assert wrong == "Expected --model.width to be a whole number; got wide."


@pytest.mark.parametrize("command", commands())
def test_help_of_every_command(capsys, command):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: pyro-vae {command} [OPTIONS]\n\n" in text
    assert " ".join(commands()[command].split()) in " ".join(text.split())
    assert "--seed" in text or command in ("compress", "decompress", "export")  # where nothing is drawn
    for word in ("class_path", "init_args", "type: ", "null", "print_config", "(, ", "()"):
        assert word not in text


@pytest.mark.parametrize("estimator", ["auto", "guide", "annealed", "bidirectional"])
def test_help_of_an_estimator_is_whole_sentences(capsys, estimator):
    with pytest.raises(SystemExit):
        main(["evaluate", "--estimator", estimator, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert re.search(rf"--estimator {estimator}: [^:]*\. Each estimator has options of its own\. --", text)
    assert "%%" not in text


def test_flat_counts_go_through_the_commands(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("counts.npy", np.random.default_rng(0).poisson(3.0, (40, 5)))
    for likelihood in ("Poisson", "NegativeBinomial"):
        main(["train", "--data", "counts.npy", "--likelihood", likelihood, *SMALL, "--out", likelihood])
        main(["evaluate", likelihood, "--num-samples", "20", "--estimator", "guide"])
    assert "per image" not in capsys.readouterr().out
    main(["compare", "Poisson", "NegativeBinomial", "--out", "both", "--estimator", "guide"])
    assert "samples and reconstructions" not in capsys.readouterr().out
    assert {path.name for path in Path("both").glob("*.png")} == {"comparison.png"}
    main(["reconstruct", "Poisson", "--out", "reconstructions.npz"])  # all four, where 64 are the default
    assert len(np.load("reconstructions.npz")["originals"]) == 4


def test_a_training_on_fewer_data_is_compared_on_the_same_test_data(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["train", *SMALL, "--out", "all"])
    main(["train", *SMALL, "--num-train", "50", "--out", "few"])
    assert json.loads(Path("few/run.json").read_text())["num_train"] == 50
    for folder in ("all", "few"):
        main(["evaluate", folder, "--num-samples", "5", "--num-images", "20", "--estimator", "guide"])
    capsys.readouterr()
    main(["compare", "all", "few", "--estimator", "guide", "--out", "both"])
    assert "num_train=50" in capsys.readouterr().out
    said = json.loads(Path("both/comparison.json").read_text())["protocol"]
    assert said.count("1,197 train") == 2
    assert said.count("a random 50 (seed 0) of the training data") == 1
    np.save("new.npy", np.zeros((30, 8, 8), dtype="uint8"))
    main(["encode", "few", "new.npy", "--out", "codes.npz"])  # all of other data, whatever the training took
    assert len(np.load("codes.npz")["z"]) == 30
    assert "Expected num_train from 1 to 1,197" in refused(capsys, "train", *SMALL, "--num-train", "1198", "--out", "z")


def test_an_exposure_is_named_and_not_compared(tmp_path, capsys, monkeypatch):
    """It is no value of x that a probability is claimed for: refused before the first of the models is trained."""
    monkeypatch.chdir(tmp_path)
    np.save("counts.npy", np.random.default_rng(0).poisson(3, (40, 5)).astype("int64") + 1)
    of = ["--data", "counts.npy", "--network", "MLP", "--latent-dim", "2", "--epochs", "1"]
    kind = "ZeroInflatedNegativeBinomial"
    both = ["--likelihoods", "NegativeBinomial", f"{kind}:exposure=true"]
    message = refused(capsys, "compare", *of, *both)
    assert "log p(x) of 5 values (NegativeBinomial) and log p(x) of 4 values" in message
    assert "let all of them take it, or none" in message
    assert not (tmp_path / "comparison").exists()
    exposure = ["--likelihood", kind, "--likelihood.exposure", "true"]
    main(["train", *of, *exposure, "--out", "e"])
    assert "the last value of x as exposure: " in capsys.readouterr().out
    np.save("zero.npy", np.zeros((40, 5), dtype="int64"))
    of[1] = "zero.npy"
    assert "The last value of x is taken for its exposure" in refused(capsys, "train", *of, *exposure, "--out", "z")


OF_TWO = """

class OfTwo(Conditional):
    def model(self, x, y, b):
        return super().model(x, y + b - b)

    def guide(self, x, y, b):
        super().guide(x, y)
"""


def test_a_conditional_model_beside_one_that_is_not(tmp_path, capsys, monkeypatch):
    """Their data points differ by what is given: the message says so, and not that they are all the test data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "of_two.py").write_text(OF_LABELS + OF_TWO)
    images = np.random.default_rng(0).normal(size=(40, 3))
    np.savez("d.npz", images=images, labels=np.arange(40) % 2, batch=np.arange(40) % 2)
    np.save("e.npy", images + 1)
    of = ["--data", "d.npz", "--latent-dim", "2", "--epochs", "1"]
    main(["train", *of, "--model", "of_two.Conditional", "--inputs", "x=images", "y=labels", "--out", "c"])
    main(["train", *of, "--likelihood", "Gaussian", "--network", "MLP", "--out", "u"])
    main(["train", *of, "--model", "of_two.OfTwo", "--inputs", "x=images", "y=labels", "b=batch", "--out", "two"])
    main(["train", *of, "--data", "e.npy", "--likelihood", "Gaussian", "--network", "MLP", "--out", "e"])
    for folder in ("c", "u", "two", "e"):
        main(["evaluate", folder, "--num-samples", "5", "--estimator", "guide"])
    said = refused(capsys, "compare", "c", "u", "--estimator", "guide")
    assert "called with the same inputs; got different ones: c log p(x | y); u log p(x)." in said
    said = refused(capsys, "compare", "c", "two", "--estimator", "guide")
    assert "called with the same inputs; got different ones: c log p(x | y); two log p(x | y, b)." in said
    said = refused(capsys, "compare", "u", "e", "--estimator", "guide")
    assert "same data; got different ones: u d.npz, evaluated on all of the test data; e e.npy, evaluated on" in said
    assert "no evaluation of --estimator auto, but evaluation_guide" in refused(capsys, "compare", "c", "u")


def test_help_shows_the_options_of_the_chosen_part(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--prior", "VampPrior", "--help"])
    text = capsys.readouterr().out
    assert "--prior.num_components" in text
    assert ", StandardNormal, " in " ".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--prior", "VampPrio"], "got 'VampPrio'. Did you mean VampPrior"),
        (["train", "--data", "mnst"], "Did you mean mnist?"),
        (["evaluate"], "Expected RUN; got nothing for it."),
        (["train", "--epochs="], "Expected --epochs to be a whole number; got nothing."),
        (["train", "--learning-rate", "-1e-3"], "One that starts with a dash is given as --learning-rate=-1."),
        (["trian"], "tune; got the command trian. Did you mean train?"),
        (["train", "7", "8"], "Expected nothing after the options; got 7 8."),
        (
            ["train", "--epochz", "3", "--sed", "4"],
            "unknown option --epochz 3. Did you mean --epochs? Unknown option --sed 4. Did you mean --seed?",
        ),
        (["train", "--epochz", "3"], "unknown option --epochz 3. Did you mean --epochs?"),
        (["train", "--epochs", "many"], "Expected --epochs to be a whole number; got many."),
        (["train", "--epochs", "0"], "Expected --epochs > 0; got 0."),
        (["train", "--binarization", "none"], "Expected data in the support of site 'x', 0 or 1; got"),
        (["train", "--network", "ConvEncoder"], "In the network, ConvEncoder: Expected in_shape of an image"),
        (["train", "--latent-dim", "1", "--prior", "CouplingFlow"], "a coupling needs two halves; got 1"),
        (["train", "--data", "mnist", "--root", "nowhere"], "Expected the MNIST files"),
        (["train", "--device", "quantum"], "Expected device cpu, cuda or auto; got 'quantum'"),
        (["train", "--config", "nowhere.yaml"], "Expected a settings file in YAML at nowhere.yaml"),
        (["train", "--kl-warmup", "-1"], "Expected a warm-up in epochs or in steps"),
        (["evaluate", "nowhere"], "there is no folder nowhere"),
        (["compare", "nowhere"], "there is no folder nowhere"),
        (["compare", "--priors", "Nobody"], "Expected --prior to be one of"),
        (["compare", "--seeds", "0"], "Expected --seeds >= 1; got 0."),
        (
            ["train", "--binarization", "foo"],
            "Expected --binarization to be none or threshold or static or dynamic or null",
        ),
        (["train", "--network.hidden", "32"], "Expected --network.hidden to be a list such as [300,300]; got 32."),
        (["train", "--network.hidden", "[0]"], "Expected hidden widths of at least 1; got [0]"),
        (["train", "--epoch", "3"], "unknown option --epoch 3. Did you mean --epochs"),
        (["train", "--objective.num_particles", "0", "--epochs", "1"], "got no gradient for any of them"),
        (["train", "--prior.dim", "3"], "unknown option --prior.dim 3. The class chosen by --prior takes no options."),
        (["train", "--prior", "VampPrior:num_components=3"], "Expected --prior to be one class; got"),
        (["train", "--likelihood", "Masked"], "Masked takes another likelihood"),
        (["train", "--network", "ConvDecoder"], "Use the pair --network ConvEncoder --decoder ConvDecoder."),
        (["compare", "--encoders", "PointEncoder"], "PointEncoder: Expected a guide that draws each latent"),
        (["compare", "--priors", "UniformSphere", "VonMisesFisherPrior"], "Refused as well: VonMisesFisherPrior."),
    ],
)
def test_bad_input_is_one_line(capsys, tmp_path, arguments, message):
    assert message in refused(capsys, *arguments)
    assert not list(tmp_path.glob("runs/*"))


def test_bad_counts_of_an_evaluation(trained, capsys):
    folder = str(trained / "VampPrior")
    assert "Expected num_samples >= 1; got 0." in refused(capsys, "evaluate", folder, "--num-samples", "0")
    assert "Expected --num-images from 1 to 300" in refused(capsys, "evaluate", folder, "--num-images", "301")
    assert "Expected --num-images from 1 to 300" in refused(capsys, "reconstruct", folder, "--num-images", "301")


def test_compare_refuses_what_would_mislead(trained, capsys):
    folder = str(trained / "VampPrior")
    assert "have the same settings and seed" in refused(capsys, "compare", folder, folder)
    for name, likelihood in (("g", ["Gaussian"]), ("d", ["DiscretizedLogistic", "--likelihood.levels", "17"])):
        run(capsys, "train", *SMALL, "--likelihood", *likelihood, "--out", name)
    run(capsys, "evaluate", "g", "d", "--num-samples", "10", "--num-images", "30")
    assert "densities (Gaussian) and probabilities" in refused(capsys, "compare", "g", "d")


def test_compare_names_runs_by_what_differs(trained, capsys):
    out = run(capsys, "train", *SMALL, "--decoder", "GatedMLP", "--decoder.hidden", "[16]", "--out", "gated")
    assert "MLP, GatedMLP, Trace_ELBO" in out
    run(capsys, "evaluate", "gated", "--num-samples", "20", "--num-images", "50")
    out = run(capsys, "compare", "gated", str(trained / "StandardNormal"))
    assert re.search(r"^model +log p\(x\)", out, flags=re.MULTILINE)
    assert re.search(r"^(GatedMLP - MLP|MLP - GatedMLP) ", out, flags=re.MULTILINE)


def test_names_show_what_distinguishes_models(trained, capsys):
    """Other classes, and settings that differ beside them: latent size, warm-up, options of a part."""
    other = ["--prior", "VampPrior", "--prior.num_components", "4", "--latent-dim", "2", "--kl-warmup", "1"]
    run(capsys, "train", *SMALL, *other, "--out", "other")
    run(capsys, "evaluate", "other", "--num-samples", "20", "--num-images", "50")
    run(capsys, "compare", "other", str(trained / "StandardNormal"), str(trained / "VampPrior"))
    names = json.loads(Path("comparison/comparison.json").read_text())["log_marginal"]
    assert [*names] == [
        "VampPrior latent_dim=2 prior.num_components=4 kl_warmup=1.0",
        "StandardNormal latent_dim=3 kl_warmup=0.0",
        "VampPrior latent_dim=3 prior.num_components=5 kl_warmup=0.0",
    ]


def test_compare_takes_evaluations_that_go_together_and_marks_others(trained, capsys):
    for name in ("StandardNormal", "VampPrior"):
        shutil.copytree(trained / name, name)
    run(capsys, "evaluate", "VampPrior", "--num-samples", "30", "--num-images", "50")
    out = run(capsys, "compare", "StandardNormal", "VampPrior", "--out", "same")
    assert "20 samples for each of 50 data points (protocol: own settings)" in out
    assert "Different numbers" not in out
    asked = refused(capsys, "compare", "StandardNormal", "VampPrior", "--num-samples", "30", "--out", "asked")
    assert "StandardNormal has no evaluation of --estimator auto --num-samples 30, but evaluation_auto_20x50" in asked
    for file in Path("VampPrior").glob("evaluation_auto_20x50of300*"):
        file.unlink()
    out = run(capsys, "compare", "StandardNormal", "VampPrior", "--out", "mixed")
    assert "Different numbers of samples (StandardNormal 20, VampPrior 30)" in out
    run(capsys, "evaluate", "VampPrior", "--num-samples", "20", "--num-images", "40")
    for file in Path("VampPrior").glob("evaluation_auto_30x50of300*"):
        file.unlink()
    other = refused(capsys, "compare", "StandardNormal", "VampPrior", "--out", "other")
    assert "StandardNormal scikit-learn digits, evaluated on a random 50" in other
    assert "VampPrior scikit-learn digits, evaluated on a random 40" in other


def test_a_faulty_class_of_the_users_is_one_line(tmp_path, capsys, monkeypatch):
    (tmp_path / "faulty_classes_of_a_user.py").write_text(
        "from torch import nn\n\n\nclass Faulty(nn.Module):\n    def __init__(self, dim):\n        super().__init__()\n"
        "    def forward(self):\n        raise KeyError('mine')\n"
    )
    said = refused(capsys, "train", "--prior", "faulty_classes_of_a_user.Faulty", "--out", "f")
    assert said.endswith("KeyError: 'mine' Add --log-level debug to see where.")
    with pytest.raises(KeyError, match="mine"):
        main(["train", "--prior", "faulty_classes_of_a_user.Faulty", "--out", "f2", "--log-level", "debug"])
    (tmp_path / "unreadable_classes_of_a_user.py").write_text("class")
    assert "SyntaxError" in refused(capsys, "train", "--prior", "unreadable_classes_of_a_user.Faulty")


EXPLODING = """
import pyro.distributions as dist
import torch
from torch import nn


class Exploding(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(dim))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self):
        if self.training and torch.is_grad_enabled():
            self.calls += 1
        return dist.Normal(self.loc * (1.0 if self.calls < 25 else float("inf")), 1.0).to_event(1)
"""


def test_a_loss_that_is_not_finite_says_what_is_kept(tmp_path, capsys):
    (tmp_path / "exploding_classes_of_a_user.py").write_text(EXPLODING)
    prior = "exploding_classes_of_a_user.Exploding"
    said = refused(capsys, "train", *SMALL, "--epochs", "4", "--compile", "false", "--prior", prior, "--out", "f")
    found = re.search(
        r"The state after epoch (\d), the best one of (\d), is kept in f, as a run that is not finished.", said
    )
    assert found is not None, said
    about = json.loads(Path("f/run.json").read_text())
    assert (about["best_epoch"], about["epochs"], about["finished"]) == (int(found[1]), int(found[2]), False)
    assert "not finished" in repr(pyro_vae.load("f"))


def test_a_run_is_not_overwritten_unasked(capsys):
    run(capsys, "train", *SMALL, "--out", "once")
    assert "holds some already" in refused(capsys, "train", *SMALL, "--out", "once")
    run(capsys, "train", *SMALL, "--out", "once", "--overwrite")


def test_an_interrupted_run_keeps_its_best_state(capsys, monkeypatch):
    from pyro_vae.runs.folder import append_metrics

    append = append_metrics

    def interrupt(folder, metrics):
        append(folder, metrics)
        if metrics["epoch"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("pyro_vae.commands.train_run.append_metrics", interrupt)
    with pytest.raises(SystemExit) as stopped:
        main(["train", *SMALL, "--epochs", "50", "--out", "part"])
    assert stopped.value.code == 130
    said = "stopped; the best state so far is kept in part. Go on with: pyro-vae train --resume part"
    assert capsys.readouterr().err.strip() == said
    assert (Path("part") / "training.png").exists()
    assert json.loads(Path("part/run.json").read_text())["finished"] is False
    run(capsys, "evaluate", "part", "--num-samples", "5", "--num-images", "10")


def test_a_run_interrupted_in_its_first_epoch_leaves_nothing(capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pyro_vae.commands.from_settings.fit", interrupt)
    with pytest.raises(SystemExit) as stopped:
        main(["train", *SMALL, "--out", "part"])
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "\nstopped in the first epoch: nothing to keep\n"
    assert not Path("part").exists()


def test_warnings_are_one_line_too(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        main(["train", *SMALL, "--kl-warmup", "5", "--out", "w"])
    line = next(line for line in capsys.readouterr().err.splitlines() if "warning" in line)
    assert line.startswith("pyro-vae: warning: The KL warm-up takes 50 steps but the run ends after 20")


def test_a_warning_is_said_once(monkeypatch, capsys):
    def run(_):
        for text in ("one", "two", "one"):
            warnings.warn(text, stacklevel=1)

    monkeypatch.setattr("pyro_vae.commands.sample.run", run)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        main(["sample", "anything"])
    assert capsys.readouterr().err.splitlines() == ["pyro-vae: warning: one", "pyro-vae: warning: two"]
