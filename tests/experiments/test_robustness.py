"""Each experiment on damage runs from end to end; a few trainings leave the process as it was."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "experiments" / "robustness"


@pytest.mark.experiment
@pytest.mark.parametrize("name", ["soak", "killed_comparisons", "damaged_inputs", "many_fits"])
def test_smoke(name, tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--smoke", "--out", str(tmp_path / "out.json")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out.json").read_text())
    assert {"command", "versions", "device", "threads", "date", "rows"} <= set(result)
    assert result["smoke"]
    rows = {row["method"]: row for row in result["rows"]}
    if name == "soak":
        (row,) = rows.values()
        assert row["ended"] == row["same bits"] >= 1
    elif name == "killed_comparisons":
        (row,) = rows.values()
        assert row["untouched"] == row["finished"] >= 1
        assert row["same bits"] == row["runs"] == 2
        assert row["same table"]
    elif name == "damaged_inputs":
        assert sum(row["tried"] for row in rows.values()) > 500
        assert all(not row["failed"] and row["refused"] + row["read"] == row["tried"] for row in rows.values())
    else:
        assert result["changed"] == []
        assert rows["files"]["after"] == rows["files"]["before"]
        assert rows["threads"]["after"] == rows["threads"]["before"]
        assert rows["memory, KiB"]["after"] < rows["memory, KiB"]["before"] + 50 * 1024
