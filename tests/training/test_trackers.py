"""The documentation's examples of trackers of others work, without a network; skipped where these are not installed."""

import re
import sqlite3
import time
import warnings
from pathlib import Path

import pytest
import torch

from pyro_vae import MLP, VAE, Bernoulli, GaussianEncoder, StandardNormal, data, fit

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def run_example(package):
    """Run the block of the page that imports a package; returns its names."""
    (code,) = (code for code in re.findall(r"^```py\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.M) if package in code)
    digits = data.load("digits", binarization="dynamic")
    px = Bernoulli(digits.event_shape)
    vae = VAE(StandardNormal(2), GaussianEncoder(px.event_shape, 2), MLP(2, px.feature_shape), px)
    names = {"digits": digits, "vae": vae, "fit": fit, "torch": torch}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of these packages
        exec(compile(code, package, "exec"), names)
    return names


def test_mlflow_holds_the_history(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    run_example("mlflow")
    with sqlite3.connect("mlflow.db") as found:
        rows = found.execute("select step, value from metrics where key = 'validation_elbo' order by step").fetchall()
        steps = found.execute("select count(*) from metrics where key = 'loss'").fetchone()
    assert [step for step, _ in rows] == [10, 20]
    assert steps[0] >= 20
    assert -60 < rows[1][1] < rows[0][1] + 5 < 0


def test_weights_and_biases_writes_its_file_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SILENT", "true")
    run_example("wandb")
    (written,) = Path("wandb").glob("offline-run-*/run-*.wandb")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and written.read_bytes().count(b"loss") < 20:
        time.sleep(0.1)  # a process of its own writes it
    history = written.read_bytes()
    assert history.count(b"validation_elbo") >= 2  # once an epoch
    assert history.count(b"loss") >= 20
