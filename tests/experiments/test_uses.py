"""Each experiment on uses of a trained pair runs to its end, and says what its numbers need to be understood."""

import json
import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "experiments" / "uses"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "record")


@pytest.mark.experiment
@pytest.mark.parametrize("name", NAMES)
def test_smoke(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))  # they share record.py
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--smoke", "--out", str(tmp_path / "out.json")])
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    result = json.loads((tmp_path / "out.json").read_text())
    assert {"command", "versions", "device", "threads", "date", "trained", "minutes"} <= set(result)
    assert result["smoke"]
    assert result["rows"]
    assert (tmp_path / "out.png").stat().st_size > 1000


def test_commands_name_no_folder_of_this_machine(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    portable = runpy.run_path(str(FOLDER / "record.py"))["portable"]
    assert portable("a.py", "/home/me/runs/mnist", "--root", "data") == "a.py mnist --root data"
