"""Commands that look at a run on data simulated from its model."""

import json

import pytest

from pyro_vae.commands.main import main

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small trained run."""
    folder = tmp_path_factory.mktemp("simulated") / "run"
    small = ["--latent-dim", "3", "--epochs", "2", "--network", "MLP", "--network.hidden", "[16]"]
    main(["train", *small, "--out", str(folder)])
    return folder


def run(capsys, *arguments):
    capsys.readouterr()
    main([*map(str, arguments)])
    return capsys.readouterr().out


def test_a_bracket_beside_an_evaluation(folder, capsys, monkeypatch):
    monkeypatch.setattr("pyro_vae.commands.bracketing.SIMULATED", 4)
    for constant in ("FIRST_TRANSITIONS", "LEAST_TRANSITIONS"):
        monkeypatch.setattr(f"pyro_vae.evidence.annealed_chains.{constant}", 3)
    out = run(capsys, "evaluate", folder, "--num-samples", 20, "--num-images", 5, "--bracket")
    assert "upper bounds exist for\n       them alone, not for real data" in out
    assert "EUBO               log p(x) >= " in out
    content = json.loads((folder / "bracket.json").read_text())
    assert content["num_data_points"] == 4
    assert content["settings"] == {"seed": 0, "num_samples": 1000, "num_chains": 16, "num_temperatures": 100}
    assert content["elbo"]["value"] < content["lower"]["value"]
    assert (folder / "bracket.png").exists()


def test_calibration_of_a_run(folder, capsys):
    out = run(capsys, "calibrate", folder, "--num-simulated", 40, "--num-draws", 19)
    assert "40 data points simulated from the model" in out
    content = json.loads((folder / "calibration.json").read_text())
    assert content["dimensions"] == ["z[0]", "z[1]", "z[2]"]
    assert [sum(counts) for counts in content["rank_counts"]] == [40] * 3
    assert (folder / "calibration.png").exists()
    with pytest.raises(SystemExit):
        main(["calibrate", str(folder), "--num-simulated", "1"])
    assert "Expected --num-simulated of at least 2; got 1." in capsys.readouterr().err


@pytest.mark.parametrize("simulate", [False, True])
def test_the_rate_distortion_curve_of_a_run(folder, capsys, monkeypatch, simulate):
    for constant in ("FIRST_TRANSITIONS", "LEAST_TRANSITIONS"):
        monkeypatch.setattr(f"pyro_vae.evidence.annealed_chains.{constant}", 3)
    options = ["--num-images", 4, "--num-chains", 3, "--num-temperatures", 6, *(["--simulate"] if simulate else [])]
    out = run(capsys, "rate-distortion", folder, *options)
    assert ("simulated from the model" in out) == ("from below: rate + distortion >= " in out) == simulate
    assert ("bounded from above alone" in out) != simulate
    content = json.loads((folder / "rate_distortion.json").read_text())
    assert len(content["curve"]) == 6
    assert (content["gap_at_beta_1"] is not None) == simulate
    assert (folder / "rate_distortion.png").exists()
