"""What `train` and `compare` leave on disk, whatever goes wrong: results stay until better ones are whole."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from pyro_vae.commands.main import main
from pyro_vae.runs.folder import append_metrics, require_run
from pyro_vae.training.fit import fit

SMALL = ["--epochs", "2", "--latent-dim", "3", "--network", "MLP", "--network.hidden", "[8]"]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two evaluated runs."""
    folder = tmp_path_factory.mktemp("trained")
    for name in ("a", "b"):
        main(["train", *SMALL, "--seed", str(ord(name)), "--out", str(folder / name)])
        main(["evaluate", str(folder / name), "--num-samples", "5", "--num-images", "9"])
    return folder


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def refused(capsys, *arguments, code=2):
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert stopped.value.code == code
    return capsys.readouterr().err


def stop(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--epochs", "0"], 2),
        (["--batch-size", "0"], 2),
        (["--learning-rate", "1e30"], 2),
        (["--latent-dim", "1", "--prior", "CouplingFlow"], 2),
        (["--data", "nowhere.npy"], 2),
        (["--objective.num_particles", "0"], 2),
        (["--epochs", "7"], 130),
    ],
)
def test_a_training_without_results_leaves_those_before(trained, capsys, monkeypatch, options, code):
    shutil.copytree(trained / "a", "a")
    before = content("a")
    if code == 130:
        monkeypatch.setattr("pyro_vae.commands.from_settings.fit", stop)
    refused(capsys, "train", *SMALL, *options, "--out", "a", "--overwrite", code=code)
    assert content("a") == before


def test_a_new_run_takes_the_evaluation_of_the_old_one_away(trained):
    shutil.copytree(trained / "a", "a")
    Path("a/notes.txt").write_text("mine")
    main(["train", *SMALL, "--seed", "3", "--out", "a", "--overwrite", "--tensorboard"])
    names = {path.name for path in Path("a").iterdir() if not path.name.startswith(".")}
    assert names == {
        *("README.txt", "settings.yaml", "run.json", "weights.safetensors", "metrics.jsonl", "training.png"),
        *("notes.txt", "tensorboard"),
    }
    assert [path.name[:20] for path in Path("a/tensorboard").iterdir()] == ["events.out.tfevents."]


def test_run_json_says_what_was_reached(trained):
    about = json.loads((trained / "a" / "run.json").read_text())
    lines = [json.loads(line) for line in (trained / "a" / "metrics.jsonl").read_text().splitlines()]
    best = max(lines, key=lambda line: line["validation_elbo"])
    assert about["best_epoch"] == best["epoch"]
    assert about["best_validation_elbo"] == best["validation_elbo"]
    assert about["num_parameters"] == (64 * 8 + 8 + 8 * 6 + 6) + (3 * 8 + 8 + 8 * 64 + 64)
    assert about["seconds"] == pytest.approx(sum(line["seconds"] for line in lines), abs=0.1)
    assert (about["epochs"], about["epochs_asked_for"], about["finished"]) == (2, 2, True)


def test_a_full_disk_during_training_costs_lines_and_no_weights(capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyro_vae.commands.train_run.append_metrics", full)
    monkeypatch.setattr("pyro_vae.commands.train_run.save_figure", full)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        main(["train", *SMALL, "--out", "a"])
    assert "warning: The run is kept without the figure" in capsys.readouterr().err
    assert require_run("a")
    assert len(Path("a/metrics.jsonl").read_text().splitlines()) == 2


def test_a_full_disk_is_noticed_before_training(capsys, monkeypatch):
    def full(*_, **__):
        raise OSError("Expected to write reserved; got an error: No space left on device.")

    monkeypatch.setattr("pyro_vae.commands.train_run.reserve_space", full)
    assert "No space left" in refused(capsys, "train", *SMALL, "--out", "a")
    assert not Path("a").exists()


KILLED = """
import os, signal, sys
from pyro_vae.commands import train_run
from pyro_vae.commands.main import main
train_run.save_weights = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main(sys.argv[1:])
"""


def test_a_killed_training_leaves_the_old_run_and_the_same_command_goes_through(trained):
    shutil.copytree(trained / "a", "a")
    before = content("a")
    arguments = ["train", *SMALL, "--seed", "4", "--out", "a", "--overwrite"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], env=environment, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    assert content("a").items() >= {k: v for k, v in before.items() if k.suffix not in (".lock", ".holder")}.items()
    assert Path("a/unfinished/metrics.jsonl").exists()
    main(arguments)
    assert not Path("a/unfinished").exists()
    assert "seed: 4" in Path("a/settings.yaml").read_text()


def test_comparing_runs_never_removes_them(trained, capsys):
    for name in "ab":
        shutil.copytree(trained / name, f"comparison/{name}")
    assert "is no comparison of pyro-vae" in refused(capsys, "compare", "comparison/a", "comparison/b", "--overwrite")
    for name in "ab":
        shutil.copytree(trained / name, f"out/runs/{name}")
    runs = ["out/runs/a", "out/runs/b"]
    main(["compare", *runs, "--out", "new"])
    for name in "ab":
        shutil.copytree(trained / name, f"new/runs/{name}")
    before = content("new/runs")
    assert "holds some already" in refused(capsys, "compare", "new/runs/a", "new/runs/b", "--out", "new")
    main(["compare", "new/runs/a", "new/runs/b", "--out", "new", "--overwrite"])
    assert content("new/runs") == before
    assert "is no comparison of pyro-vae" in refused(capsys, "compare", *runs, "--out", "new/runs/a", "--overwrite")


CANDIDATES = ["compare", "--priors", "StandardNormal", "GaussianMixture", "--seeds", "1", "--num-samples", "5"]
CANDIDATES += ["--num-images", "20", "--estimator", "guide"]


def test_a_comparison_goes_on_and_replaces_nothing_unasked(capsys, monkeypatch):
    small = ["--epochs", "1", "--kl-warmup", "0", "--network.hidden", "[4]"]
    fits = []

    def second_is_stopped(*arguments, **options):
        fits.append(options)
        return fit(*arguments, **options) if len(fits) == 1 else stop()

    with monkeypatch.context() as patch:
        patch.setattr("pyro_vae.commands.from_settings.fit", second_is_stopped)
        refused(capsys, *CANDIDATES, *small, code=130)
    before = content("comparison/runs/StandardNormal-seed0")
    assert "has others. Add --overwrite" in refused(capsys, *CANDIDATES, *small, "--latent-dim", "2")
    assert content("comparison/runs/StandardNormal-seed0") == before
    main([*CANDIDATES, *small])
    assert "was there" in capsys.readouterr().out
    assert content("comparison/runs/StandardNormal-seed0").items() >= before.items()
    fewer = [word for word in CANDIDATES if word != "GaussianMixture"]
    assert "holds some already" in refused(capsys, *fewer, *small)


def second_epoch_is_stopped(folder, metrics):
    append_metrics(folder, metrics)
    if metrics["epoch"] == 2:
        raise KeyboardInterrupt


def test_an_epoch_that_is_over_is_kept(capsys, monkeypatch):
    monkeypatch.setattr("pyro_vae.commands.train_run.append_metrics", stop)  # `fit` has chosen its state by then
    refused(capsys, "train", *SMALL, "--epochs", "50", "--out", "a", code=130)
    about = json.loads(Path("a/run.json").read_text())
    assert (about["epochs"], about["finished"]) == (1, False)
    assert len(Path("a/metrics.jsonl").read_text().splitlines()) == 1


def test_a_stopped_training_leaves_the_run_before(trained, capsys, monkeypatch):
    shutil.copytree(trained / "a", "a")
    before = content("a")
    monkeypatch.setattr("pyro_vae.commands.train_run.append_metrics", second_epoch_is_stopped)
    with pytest.raises(SystemExit):
        main(["train", *SMALL, "--epochs", "50", "--out", "a", "--overwrite"])
    assert "the best state so far is kept in a/unfinished; the run in a stays as it was" in capsys.readouterr().err
    assert content("a").items() >= before.items()
    main(["evaluate", "a/unfinished", "--num-samples", "5", "--num-images", "9"])


def test_runs_that_were_stopped_are_marked_when_compared(trained, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("pyro_vae.commands.train_run.append_metrics", second_epoch_is_stopped)
        refused(capsys, "train", *SMALL, "--epochs", "50", "--prior", "LaplacePrior", "--out", "part", code=130)
    main(["evaluate", "part", "--num-samples", "5", "--num-images", "9"])
    main(["compare", "part", str(trained / "a")])
    assert "part: Not trained to the end: after 2 of 50 epochs." in capsys.readouterr().out
    assert "part: Not trained to the end" in Path("comparison/comparison.md").read_text()


@pytest.mark.parametrize("done", [lambda: os.rename("run", "moved"), lambda: shutil.rmtree("run")])
def test_a_folder_that_is_taken_away_is_named_with_what_could_not_be_written(done, capsys, monkeypatch):
    def taken_away(*arguments, **keywords):
        result = fit(*arguments, **keywords)
        done()
        return result

    monkeypatch.setattr("pyro_vae.commands.from_settings.fit", taken_away)
    text = refused(capsys, "train", *SMALL, "--out", "run")
    assert "error: Expected to write run/unfinished/weights.safetensors; got an error: No such file" in text


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (
            lambda run: (run / "settings.yaml").write_text((run / "settings.yaml").read_text() + "\n"),
            "Expected run/settings.yaml as",
        ),
        (lambda run: (run / "weights.safetensors").unlink(), "a whole run; run has no weights.safetensors"),
        (
            lambda run: (run / "run.json").write_text((run / "run.json").read_text().replace("2", "3", 1)),
            "Expected run/run.json as",
        ),
    ],
)
def test_a_finished_run_that_was_edited_or_is_damaged_is_not_trained_anew_by_resume(trained, damage, text, capsys):
    run = Path(shutil.copytree(trained / "a", "run"))
    damage(run)
    before = content(run)
    assert text in refused(capsys, "train", "--resume", "run")
    assert content(run) == before
