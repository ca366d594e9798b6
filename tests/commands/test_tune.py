"""A search goes on where it was stopped; its final numbers come from other seeds and other data than its choices."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from pyro_vae import LogMarginal
from pyro_vae.commands import tune
from pyro_vae.commands.main import main
from pyro_vae.runs import study

SMALL = ["--epochs", "2", "--kl-warmup", "0", "--latent-dim", "3", "--network.hidden", "[16]", "--compile", "false"]
FINAL = ["--seeds", "1", "--num-images", "20", "--num-samples", "30"]
SEARCH = ["tune", *SMALL, *FINAL, "--kl-weight", "0.7", "--search", "learning_rate=1e-4..1e-2", "batch_size=64,1000000"]


def read(name):
    return json.loads(Path(name).read_text())


def stopped(*arguments):
    with pytest.raises(SystemExit) as exit:
        main([*arguments])
    return exit.value.code


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search that nobody disturbed; of the second trial on, what is worse than the median is stopped."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(study, "FIRST_TRIALS", 1)
        main([*SEARCH, "--trials", "4", "--out", "tuned"])
    return folder / "tuned"


def test_the_best_of_the_trials_is_trained_anew_with_fresh_seeds(whole):
    content = read(whole / "tuning.json")
    trials = content["trials"]
    assert [trial["trial"] for trial in trials] == [0, 1, 2, 3]
    assert trials[0]["settings"] == {"learning_rate": 1e-3, "batch_size": "64"}  # as given
    trained = [trial for trial in trials if trial["outcome"] == "trained"]
    assert {trial["outcome"] for trial in trials} == {"trained", "stopped early"}
    best = max(trained, key=lambda trial: trial["validation_elbo"])
    settings = yaml.safe_load((whole / "best.yaml").read_text())
    assert settings["learning_rate"] == best["settings"]["learning_rate"]
    assert str(settings["batch_size"]) == best["settings"]["batch_size"]
    name = f"trial {best['trial']}"
    final = read(whole / "comparison.json")
    assert {*final["runs"]} == ({name} if best["trial"] == 0 else {name, "as given"})
    ((run,), (evaluation,)) = final["runs"][name], final["evaluations"][name]
    trained_with = yaml.safe_load((whole.parent / run / "settings.yaml").read_text())
    assert trained_with == settings
    assert trained_with["seed"] == 1  # the search had seed 0
    again = LogMarginal.load(whole.parent / evaluation)
    assert final["log_marginal"][name]["value"] == pytest.approx(again.mean.value)
    assert "of the test data" in final["protocol"]


def test_an_interrupted_search_goes_on_to_the_same_trials(whole, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "FIRST_TRIALS", 1)
    told, count = tune.told, []

    def interrupted(*arguments):
        count.append(0)
        if len(count) == 3:  # its training is over, and what came of it is not noted
            raise KeyboardInterrupt
        told(*arguments)

    monkeypatch.setattr(tune, "told", interrupted)
    assert stopped(*SEARCH, "--trials", "4", "--out", "tuned") == 130
    assert "stopped; 2 of 4 trials are kept: the same command goes on" in capsys.readouterr().err
    monkeypatch.setattr(tune, "told", told)
    assert stopped(*SEARCH, "batch_size=8,16", "--trials", "4", "--out", "tuned") == 2
    assert stopped(*SEARCH, "--trials", "4", "--out", "tuned", "--latent-dim", "5") == 2
    assert "got another settings. Choose another --out" in capsys.readouterr().err
    monkeypatch.setattr(tune, "train_all", lambda *_: None)  # the final runs are those of the other test
    monkeypatch.setattr(tune, "write_comparison", lambda *_: None)
    main([*SEARCH, "--trials", "4", "--out", "tuned"])
    rows = [(row["settings"], row["validation_elbo"], row["outcome"]) for row in read("tuned/tuning.json")["trials"]]
    before = read(whole / "tuning.json")["trials"]
    assert rows == [(row["settings"], row["validation_elbo"], row["outcome"]) for row in before]


def test_what_cannot_be_searched_is_refused_before_anything_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert stopped("tune", *SMALL, "--search", "latent_dim=0..4") == 2
    assert "Expected --latent-dim > 0; got 0." in capsys.readouterr().err
    assert stopped("tune", *SMALL, "--search", "likelihood=Bernoulli,Gaussian") == 2
    assert "Expected" in capsys.readouterr().err
    assert stopped(*SEARCH, "--split", "validation") == 2
    assert "Expected --split test, data that the search has not seen" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert stopped(*SEARCH, "--out", "t") == 2
    assert 'Expected the package optuna; got none. Run pip install "pyro-vae[tune]".' in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []
