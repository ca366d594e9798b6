"""Each benchmark runs from end to end, and says what its numbers need to be understood."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "experiments" / "benchmarks"
SHARED = {"machine", "pythae_twin"}  # what the benchmarks have in common
BENCHMARKS = sorted(path for path in FOLDER.glob("*.py") if path.stem not in SHARED)


@pytest.mark.experiment
@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_smoke(path, tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(path), "--smoke", "--out", str(tmp_path / "out.json")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out.json").read_text())
    assert {"command", "versions", "device", "threads", "date", "rows"} <= set(result)
    assert result["smoke"]
    for row in result["rows"]:
        assert row["method"] in done.stdout
        if "missing" not in row:
            assert len(row.get("repetitions") or row["seconds"]) >= 1
    assert any(row["method"].startswith("pyro_vae") or "doubled" in done.stdout for row in result["rows"])
