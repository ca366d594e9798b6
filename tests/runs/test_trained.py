"""From a run folder to Python in one line; classes of the user's own come back from their copies, with consent."""

import importlib
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_vae
from pyro_vae import MLP, LogMarginal, log_marginal
from pyro_vae.commands.main import main
from pyro_vae.runs.folder import append_metrics
from pyro_vae.runs.own_classes import sources_of

SMALL = ["--epochs", "1", "--latent-dim", "2", "--network", "MLP", "--network.hidden", "[8]"]
PRIOR = """
import pyro.distributions as dist
import torch
from torch import nn

from {near} import SPREAD


class Wide(nn.Module):
    def __init__(self, dim, factor: float = 1.0):
        super().__init__()
        self.loc, self.scale = nn.Parameter(torch.zeros(dim)), factor * SPREAD

    def forward(self):
        return dist.Normal(self.loc, self.scale).to_event(1)
"""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    forget()


def forget():
    for name in [n for n in sys.modules if n.partition(".")[0] in ("own_priors", "own_numbers", "own_package")]:
        del sys.modules[name]


def train(*options, out="run"):
    main(["train", *SMALL, *options, "--out", out])


def own(folder):
    """Two files of the user's own, one of which imports the other; a package if the folder is one."""
    name = "own_priors" if folder == "." else "own_package.priors"
    near = "own_numbers" if folder == "." else ".numbers"
    path = Path(folder)
    path.mkdir(exist_ok=True)
    if folder != ".":
        (path / "__init__.py").write_text("")
    (path / ("own_priors.py" if folder == "." else "priors.py")).write_text(PRIOR.format(near=near))
    (path / ("own_numbers.py" if folder == "." else "numbers.py")).write_text("SPREAD = 2.0\n")
    return f"{name}.Wide"


def test_a_run_comes_back_in_one_line(tmp_path):
    train("--prior", "VampPrior", "--prior.num_components", "3")
    run = pyro_vae.load("run")
    assert not any(module.training for module in run.module.modules())
    assert (run.settings["latent_dim"], run.about["epochs"]) == (2, 1)
    assert run.data.test.shape == (300, 1, 8, 8)
    result = log_marginal(run.model, run.guide, run.data.test[:5], num_samples=10)
    assert result.log_prob.isfinite().all()
    main(["evaluate", "run", "--num-images", "4", "--num-samples", "5", "--seed", "3"])
    saved = LogMarginal.load(
        next(Path("run").glob("evaluation_*.json")).with_suffix("")
    )  # which data points of the split these are
    again = log_marginal(run.model, run.guide, run.data.test, num_samples=5, only=saved.indices.tolist())
    assert torch.equal(saved.digests, again.digests)
    shown = repr(run).splitlines()
    assert shown[0] == "Run run"
    assert shown[1].startswith("  model       VAE, VampPrior, Bernoulli, GaussianEncoder, MLP, Trace_ELBO; ")
    assert shown[2] == f"  data        {run.data.protocol}"
    assert re.fullmatch(r"  trained     best epoch 1 of 1, validation ELBO -[\d.]+ nats per data point", shown[3])
    assert shown[4].startswith(
        f"  log p(x)    {saved.mean.value:.3f} +- {saved.mean.standard_error:.3f} over data points"
    )
    assert "5 samples for each of 4 data points" in shown[4]
    assert len(set(saved.indices.tolist())) == 4


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder nowhere"):
        pyro_vae.load("nowhere")
    layer = MLP(2, (3,))

    def pair(x):
        layer(torch.zeros(1, 2))

    pyro_vae.Fit(pair, pair, [], {}, 0, False, True).save("fit")
    with pytest.raises(ValueError, match=r"Fit\.load\('fit', model, guide\)"):
        pyro_vae.load("fit")


def test_changed_data_are_noticed(tmp_path):
    rows = np.random.default_rng(0).integers(0, 2, (40, 6)).astype(np.float32)
    np.save("rows.npy", rows)
    train("--data", "rows.npy")
    np.save("rows.npy", 1 - rows)
    run = pyro_vae.load("run")
    with pytest.raises(ValueError, match="Expected the data that run was trained on"):
        _ = run.data


def test_data_are_found_from_another_folder(tmp_path, monkeypatch):
    np.save("rows.npy", np.random.default_rng(0).integers(0, 2, (40, 6)).astype(np.float32))
    train("--data", "rows.npy")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(pyro_vae.load("../run").data.test) > 0
    (tmp_path / "rows.npy").rename(tmp_path / "elsewhere" / "moved.npy")
    with pytest.raises(FileNotFoundError, match="--root"):
        _ = pyro_vae.load("../run").data


@pytest.mark.parametrize("place", [".", "own_package"])
def test_own_classes_come_back_from_their_copies_with_consent(tmp_path, monkeypatch, capsys, place):
    train("--prior", own(place), "--prior.factor", "1.5")
    here = pyro_vae.load("run")  # the files are there, as they were
    x = here.data.test[:5]
    expected = log_marginal(here.model, here.guide, x, num_samples=10).log_prob
    forget()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(tmp_path))])
    with pytest.raises(ValueError, match=r"Expected own_\w+(/\w+)?\.py as it was .* look at \.\./run/source\.own_\w+"):
        pyro_vae.load("../run")
    with pytest.raises(SystemExit):
        main(["sample", "../run"])
    assert "--trust" in capsys.readouterr().err
    run = pyro_vae.load("../run", trust=True)
    assert torch.equal(log_marginal(run.model, run.guide, run.data.test[:5], num_samples=10).log_prob, expected)
    assert not {"own_priors", "own_package"} & {name.partition(".")[0] for name in sys.modules}
    assert not list((tmp_path / "run").rglob("__pycache__"))
    main(["sample", "../run", "--num-samples", "2", "--trust"])
    main(["evaluate", "../run", "--num-samples", "2", "--num-images", "2", "--trust"])


def test_a_changed_file_is_not_taken_for_that_of_the_run(tmp_path):
    train("--prior", own("."), "--prior.factor", "1.5")
    forget()
    (tmp_path / "own_numbers.py").write_text("SPREAD = 3.0\n")
    with pytest.raises(ValueError, match=r"Expected own_numbers\.py as it was"):
        pyro_vae.load("run")
    assert pyro_vae.load("run", trust=True).module.prior.scale == 3.0  # 1.5 * 2
    import own_numbers

    assert own_numbers.SPREAD == 3.0  # the user's own module is what it was


def refused(capsys, *arguments):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_a_changed_file_stops_a_comparison_before_anything_is_trained(tmp_path, capsys):
    own(".")
    few = [*SMALL, "--seeds", "1", "--num-samples", "5", "--num-images", "9", "--estimator", "guide"]
    compare = ["compare", *few, "--priors", "own_priors.Wide:factor=1.5"]
    main(compare)
    runs = {path.name for path in Path("comparison/runs").iterdir()}
    forget()
    with Path("own_priors.py").open("a") as file:
        file.write("\n\nclass Wider(Wide):\n    pass\n")
    said = refused(capsys, *compare, "own_priors.Wider")
    assert re.search(r"Expected own_priors\.py as it was when .*; .*own_priors\.py was changed since.*--trust", said)
    assert {path.name for path in Path("comparison/runs").iterdir()} == runs
    forget()
    main([*compare, "own_priors.Wider", "--trust"])
    assert [*json.loads(Path("comparison/comparison.json").read_text())["runs"]] == [
        "own_priors.Wide:factor=1.5",
        "own_priors.Wider",
    ]
    forget()
    assert "--trust" in refused(capsys, "compare", *map(str, Path("comparison/runs").iterdir()), "--out", "again")


def test_a_training_goes_on_with_the_source_that_it_had(tmp_path, capsys, monkeypatch):
    def append(folder, metrics):
        append_metrics(folder, metrics)
        if metrics["epoch"] == 2:
            raise KeyboardInterrupt

    prior = own(".")
    with monkeypatch.context() as patch:
        patch.setattr("pyro_vae.commands.train_run.append_metrics", append)
        with pytest.raises(SystemExit):
            train("--prior", prior, "--epochs", "3", "--checkpoint-minutes", "0")
    forget()
    before = Path("own_numbers.py").read_text()
    Path("own_numbers.py").write_text(f"{before}TWICE = 4.0\n")
    said = refused(capsys, "train", "--resume", "run")
    assert re.search(r"Expected own_numbers\.py as it was when run was trained; .* was changed since", said)
    assert "Put it back as run/source.own_numbers.py is" in said
    forget()
    shutil.copytree("run", "other")
    Path("own_numbers.py").write_text(before)
    main(["train", "--resume", "other"])
    forget()
    Path("own_numbers.py").write_text(f"{before}TWICE = 4.0\n")
    main(["train", "--resume", "run", "--trust"])
    assert "resume after epoch 1 of 3" in capsys.readouterr().out
    assert "trust" not in Path("run/settings.yaml").read_text()
    assert Path("run/source.own_numbers.py").read_text() == f"{before}TWICE = 4.0\n"
    assert Path("run/weights.safetensors").read_bytes() == Path("other/weights.safetensors").read_bytes()


def test_a_copy_that_was_changed_is_refused(tmp_path):
    train("--prior", own("."))
    (tmp_path / "run" / "source.own_numbers.py").write_text("SPREAD = 9.0\n")
    with pytest.raises(ValueError, match="it is damaged or was changed"):
        pyro_vae.load("run", trust=True)


def test_a_run_is_replaced_with_its_copies(tmp_path):
    train("--prior", own("."))
    assert {path.name for path in (tmp_path / "run").glob("source*")} == {
        "source.own_priors.py",
        "source.own_numbers.py",
    }
    train("--overwrite")
    assert not list((tmp_path / "run").glob("source*"))


def test_what_pip_put_beside_site_packages_is_not_a_users_own(tmp_path, monkeypatch):
    (tmp_path / "elsewhere" / "somebody-1.0.dist-info").mkdir(parents=True)
    (tmp_path / "elsewhere" / "somebody_else.py").write_text("A = 1\n")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "own_model_of_a_user.py").write_text("import somebody_else\n")
    for folder in ("own", "elsewhere"):
        monkeypatch.syspath_prepend(str(tmp_path / folder))
    importlib.import_module("own_model_of_a_user")
    assert [*sources_of(["own_model_of_a_user.Model"])] == ["own_model_of_a_user"]
