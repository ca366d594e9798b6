"""`pyro-vae evaluate`: every estimator, interrupted and gone on with, and shared out over processes."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from pyro_vae.cli import main
from pyro_vae.commands import evaluate
from pyro_vae.evidence import LogMarginal
from pyro_vae.portions import Portions

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small trained run."""
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    small = ["--latent-dim", "3", "--epochs", "2", "--network", "MLP", "--network.hidden", "[16]"]
    main(["train", *small, "--out", str(folder)])
    return folder


def run(capsys, *arguments):
    capsys.readouterr()
    main(["evaluate", *map(str, arguments)])
    return capsys.readouterr().out


def arrays(folder, name="evaluation"):
    with np.load(folder / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def results(numbers):
    values = torch.tensor(numbers).double()
    return LogMarginal(-values, values, values, values, torch.full((len(numbers),), 9))


def test_importance_sampling_draws_its_figures(folder, capsys):
    out = run(capsys, folder, "--num-samples", 60, "--num-images", 20, "--widen", 1.1, "--defensive", 0.05)
    assert "60 samples per image" in out
    about = json.loads((folder / "evaluation.json").read_text())
    assert about["estimator_settings"]["widen"] == 1.1
    assert [level["num_samples"] for level in about["convergence"]] == [1, 10, 60]
    assert about["images_with_khat_above_0.7"] == int((arrays(folder)["khat"] > 0.7).sum())
    for name in ("evaluation", "evaluation_convergence", "evaluation_khat", "evaluation_dimensions"):
        assert (folder / f"{name}.png").stat().st_size > 5000
    assert not (folder / "evaluation.partial").exists()


def test_a_target_gives_images_the_samples_they_need(folder, capsys):
    options = ("--num-samples", 20, "--target-standard-error", 0.1, "--max-samples", 640)
    run(capsys, folder, *options, "--num-images", 20)
    found = arrays(folder)
    assert len(np.unique(found["num_samples"])) > 1
    assert set(found["num_samples"]) <= {20 * 2**i for i in range(6)}
    assert np.median(found["standard_error"]) < 0.12


def test_annealed_and_bidirectional(folder, capsys):
    quick = ("--num-chains", 4, "--num-temperatures", 10, "--num-leapfrog", 2, "--num-images", 6)
    before = (folder / "evaluation.npz").read_bytes()
    assert "acceptance of the transitions" in run(capsys, folder, "--estimator", "annealed", *quick)
    assert arrays(folder, "evaluation_annealed")["details.acceptance"].shape == (6,)
    out = run(capsys, folder, "--estimator", "bidirectional", "--start", "prior", *quick)
    assert "6 images simulated from the model" in out
    about = json.loads((folder / "evaluation_bidirectional.json").read_text())
    gap = (
        arrays(folder, "evaluation_bidirectional_upper")["log_prob"]
        - arrays(folder, "evaluation_bidirectional_lower")["log_prob"]
    )
    assert about["mean_gap"] == pytest.approx(gap.mean())
    assert (about["lower"]["bound"], about["upper"]["bound"]) == ("lower", "upper")
    assert (folder / "evaluation.npz").read_bytes() == before  # what compare reads is left alone


def test_an_interrupted_evaluation_goes_on(folder, capsys, monkeypatch):
    options = (folder, "--num-samples", 20, "--num-images", 30, "--chunk-size", 100)
    run(capsys, *options)
    whole = arrays(folder)

    def add_and_stop(self, numbers, result):
        plain_add(self, numbers, result)
        if max(numbers) >= 10:
            raise KeyboardInterrupt

    plain_add, sampled = Portions.add, []
    monkeypatch.setattr(Portions, "add", add_and_stop)
    with pytest.raises(SystemExit) as stopped:
        run(capsys, *options)
    assert stopped.value.code == 130
    assert "15 of 30 images are kept: the same command goes on" in capsys.readouterr().out
    assert (folder / "evaluation.json").exists()  # the earlier one

    def add_and_count(self, numbers, result):
        plain_add(self, numbers, result)
        sampled.extend(numbers)

    monkeypatch.setattr(Portions, "add", add_and_count)
    assert "15 of 30 images are finished already" in run(capsys, *options)
    assert sampled == list(range(15, 30))
    again = arrays(folder)
    assert whole.keys() == again.keys()
    for name, values in whole.items():
        np.testing.assert_allclose(again[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


def test_other_settings_start_anew(folder, capsys, monkeypatch):
    def stop(self, numbers, result):
        self.waiting.append(result.with_details(number=torch.tensor(numbers)))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Portions, "add", stop)
        with pytest.raises(SystemExit):
            run(capsys, folder, "--num-samples", 20, "--num-images", 30, "--chunk-size", 100)
    assert (folder / "evaluation.partial").exists()
    assert "finished already" not in run(capsys, folder, "--num-samples", 21, "--num-images", 30)
    assert (arrays(folder)["num_samples"] == 21).all()


def test_two_processes_give_the_same_numbers_as_one(folder, capsys):
    options = ["--num-samples", "20", "--num-images", "31"]
    run(capsys, folder, *options)
    alone = arrays(folder)
    (folder / "evaluation.npz").unlink()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "-m", "pyro_vae", "evaluate", str(folder), *options], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("log p(x) = ") == 1  # one of them speaks
    together = arrays(folder)
    for name, values in alone.items():
        np.testing.assert_allclose(together[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


def test_portions_are_put_in_order_and_belong_to_their_settings(tmp_path):
    portions = [Portions(tmp_path / "some", {"samples": 9}, rank=rank) for rank in range(2)]
    portions[0].clear_others()
    portions[1].add([3, 1], results([3.0, 1.0]))
    portions[0].add([2, 0], results([2.0, 0.0]))
    for each in portions:
        each.flush()
    found = portions[0].finished()
    assert found.details["number"].tolist() == [0, 1, 2, 3]
    assert found.log_prob.tolist() == [0, -1, -2, -3]
    portions[0].clear_others()
    assert len(portions[0].finished()) == 4
    other = Portions(tmp_path / "some", {"samples": 10})
    other.clear_others()
    assert other.finished() is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--memory-budget", "a lot"], "Expected a size in bytes, such as '1GiB'"),
        (["--memory-budget", "100"], "Expected a memory budget of at least"),
        (["--widen", "0"], "Expected scale > 0; got 0.0"),
        (["--defensive", "1"], "Expected defensive from 0 to below 1"),
        (["--target-standard-error", "0"], "Expected target_standard_error > 0"),
        (["--estimator", "harmonic"], "Expected --estimator to be importance or annealed or bidirectional"),
        (["--estimator", "annealed", "--num-chains", "0"], "Expected num_chains >= 1; got 0"),
    ],
)
def test_wrong_options_are_said_in_a_line(folder, capsys, options, text):
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", str(folder), *options])
    assert stopped.value.code == 2
    assert text in capsys.readouterr().err


def test_names_of_evaluations_are_those_of_the_estimators():
    assert list(evaluate.NAMES) == ["importance", "annealed", "bidirectional"]
