"""A run travels: by a folder, and through the Hub's own mixin, whose requests go to a stub here."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml

import pyro_vae
from pyro_vae import from_pretrained
from pyro_vae.commands.main import main
from pyro_vae.runs.evaluations import evaluations_of, load_evaluation
from pyro_vae.runs.folder import write_about

SMALL = ["--epochs", "1", "--network", "MLP", "--network.hidden", "[8]", "--latent-dim", "2"]
OWN = """
import pyro.distributions as dist
import torch
from torch import nn


class Wide(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(dim))

    def forward(self):
        return dist.Normal(self.loc, 2.0).to_event(1)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An evaluated run, its data in a folder whose name nobody should see elsewhere."""
    folder = tmp_path_factory.mktemp("secret")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        np.save("rows.npy", np.random.default_rng(0).integers(0, 2, (60, 6)).astype(np.float32))
        main(
            [
                "train",
                *SMALL,
                "--data",
                "rows.npy",
                "--prior",
                "VampPrior",
                "--prior.num_components",
                "3",
                "--out",
                "vamp",
            ]
        )
        main(["evaluate", "vamp", "--num-images", "5", "--num-samples", "30"])
    return folder / "vamp"


def same(a, b):
    return all(
        torch.equal(p, q) for p, q in zip(a.module.state_dict().values(), b.module.state_dict().values(), strict=True)
    )


def test_a_folder_holds_all_that_others_need(run, tmp_path):
    here = pyro_vae.load(run, device="cpu")
    here.save_pretrained(tmp_path / "out", license="apache-2.0")
    there = from_pretrained(tmp_path / "out", device="cpu")
    assert same(here, there)
    assert there.settings == here.settings
    ((name, _),) = evaluations_of(run).items()
    before, after = load_evaluation(run, name)[0], load_evaluation(tmp_path / "out", name)[0]
    assert torch.equal(before.log_prob, after.log_prob)
    card = (tmp_path / "out" / "README.md").read_text()
    _, header, text = card.split("---\n", 2)
    assert yaml.safe_load(header)["license"] == "apache-2.0"
    assert f"{here.about['protocol']}." in text
    mean = before.mean
    assert (
        f"{mean.value:.3f} +- {mean.standard_error:.3f} over data points, +- {mean.monte_carlo_error:.3f} Monte" in text
    )
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert b"secret" not in written
    with pytest.raises(FileExistsError, match="Expected a new or empty folder"):
        here.save_pretrained(tmp_path / "out")


def test_it_goes_to_the_hub_and_comes_back(run, tmp_path, monkeypatch):
    calls = []

    class Api:
        """The Hub, as far as its mixin asks it."""

        def __init__(self, token=None):
            calls.append(token)

        def create_repo(self, repo_id, private, exist_ok):
            calls.append((repo_id, private))
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, *, repo_id, folder_path, **_):
            shutil.copytree(folder_path, tmp_path / repo_id)
            return f"https://hub/{repo_id}"

    def download(name, *, revision, token, allow_patterns):
        calls.append((name, revision))
        return str(tmp_path / name)

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    here = pyro_vae.load(run, device="cpu")
    assert here.push_to_hub("somebody/rows", private=True, token="t") == "https://hub/somebody/rows"
    assert not (tmp_path / "somebody/rows/config.json").exists()
    assert "Not known" not in (tmp_path / "somebody/rows/README.md").read_text()
    assert same(here, from_pretrained("somebody/rows", revision="main", device="cpu"))
    assert calls == ["t", ("somebody/rows", True), ("somebody/rows", "main")]


def test_classes_from_elsewhere_need_consent(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("wide_priors_of_a_test.py").write_text(OWN)
    main(["train", *SMALL, "--prior", "wide_priors_of_a_test.Wide", "--out", "wide"])
    pyro_vae.load("wide").save_pretrained("out")
    assert "Not known: it was not evaluated." in Path("out/README.md").read_text()
    with pytest.raises(ValueError, match=r"got wide_priors_of_a_test\.Wide, .* Look at source\.wide_priors_of_a"):
        from_pretrained("out")
    Path("wide_priors_of_a_test.py").unlink()
    del sys.modules["wide_priors_of_a_test"]
    assert same(from_pretrained("out", trust=True, device="cpu"), pyro_vae.load("wide", trust=True, device="cpu"))


def test_an_installed_module_is_not_imported_either(run, tmp_path):
    pyro_vae.load(run).save_pretrained(tmp_path / "out")
    (tmp_path / "out" / "settings.yaml").write_text(
        (run / "settings.yaml").read_text().replace("class_path: VampPrior", "class_path: antigravity_of_a_test.Prior")
    )
    about = json.loads((run / "run.json").read_text())
    write_about(
        tmp_path / "out", {name: value for name, value in about.items() if name not in ("files", "kind", "sha256")}
    )
    with pytest.raises(ValueError, match=r"got antigravity_of_a_test\.Prior, whose code would run"):
        from_pretrained(tmp_path / "out")


def test_what_is_not_there_is_said(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="Expected the folder of a run, or USER/MODEL on the Hub; got noth"):
        from_pretrained("nothing_here")

    def offline(*_, **__):
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(FileNotFoundError, match="Expected a run at somebody/rows on the Hub; got an error: no conn"):
        from_pretrained("somebody/rows")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r'Run pip install "pyro-vae\[hub\]"'):
        from_pretrained("somebody/rows")
