"""Each study of evidence runs from end to end, and says what its numbers need to be understood."""

import json
import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "experiments" / "evidence"


STUDIES = (
    "agreement",
    "annealed_vs_importance",
    "anomalies",
    "compression",
    "coverage",
    "default_coverage",
    "defaults",
    "escalation_by_model",
    "escalation_on_mnist",
    "gap_on_digits",
    "lossy_compression",
    "priors_on_mnist",
    "resampling",
)


@pytest.mark.experiment
@pytest.mark.parametrize("name", STUDIES)
def test_smoke(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))  # they share setting.py
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--smoke", "--out", str(tmp_path / "out.json")])
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    result = json.loads((tmp_path / "out.json").read_text())
    assert {"command", "versions", "device", "threads", "date"} <= set(result)
    assert result["smoke"]
    for panel in result.get("panels", [result]):
        assert panel["rows"]


@pytest.mark.experiment
def test_a_search_is_recorded_beside_what_its_best_settings_are_worth(tmp_path, monkeypatch):
    path = FOLDER.parent / "search_on_digits.py"
    monkeypatch.setattr(sys, "argv", [path.name, "--smoke", "--out", str(tmp_path / "out.json")])
    runpy.run_path(str(path), run_name="__main__")
    result = json.loads((tmp_path / "out.json").read_text())
    assert {"command", "versions", "device", "threads", "date", "protocol"} <= set(result)
    assert result["smoke"]
    assert sum(result["outcomes"].values()) == 2
    assert "as given" in {row["name"] for row in result["rows"]}
    assert result["best"]["validation_elbo"] >= result["given_elbo"]
