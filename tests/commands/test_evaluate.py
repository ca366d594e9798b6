"""`pyro-vae evaluate`: every estimator, interrupted and gone on with, and shared out over processes."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from pyro_vae.commands.estimators import ESTIMATORS
from pyro_vae.commands.main import main
from pyro_vae.evidence import LogMarginal
from pyro_vae.runs.partial_results import PartialResults

QUICK = ("--num-chains", 4, "--num-temperatures", 4, "--num-leapfrog", 1, "--chunk-size", 16)
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
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


SMALL = {  # estimator: options, files with the arrays
    "importance": (("--num-samples", 20, "--chunk-size", 40), ["evaluation"]),
    "annealed": (QUICK, ["evaluation_annealed"]),
    "bidirectional": (
        QUICK,
        [f"evaluation_bidirectional{side}" for side in ("", "_lower", "_upper")],
    ),
}


def all_arrays(folder, names):
    return {f"{name} {key}": value for name in names for key, value in arrays(folder, name).items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("estimator", SMALL)
def test_an_interrupted_evaluation_goes_on(folder, capsys, monkeypatch, estimator):
    for name in ("FIRST_TRANSITIONS", "LEAST_TRANSITIONS"):  # of the warm-up, to save time
        monkeypatch.setattr(f"pyro_vae.evidence.annealed.{name}", 3)
    options, names = SMALL[estimator]
    options = (folder, "--estimator", estimator, "--num-images", 12, *options)
    run(capsys, *options)
    whole = all_arrays(folder, names)

    def add_and_stop(self, numbers, result):
        plain_add(self, numbers, result)
        if max(numbers) >= 5:
            raise KeyboardInterrupt

    plain_add, sampled = PartialResults.add, []
    monkeypatch.setattr(PartialResults, "add", add_and_stop)
    with pytest.raises(SystemExit) as stopped:
        run(capsys, *options)
    assert stopped.value.code == 130
    kept = re.search(r"stopped; (\d+) of 12 images are kept: the same command goes on", capsys.readouterr().err)
    count = int(kept[1])
    assert 6 <= count < 12
    assert (folder / f"{names[0]}.json").exists()  # the earlier one

    def add_and_count(self, numbers, result):
        plain_add(self, numbers, result)
        sampled.extend(numbers)

    monkeypatch.setattr(PartialResults, "add", add_and_count)
    assert f"{count} of 12 images are finished already" in run(capsys, *options)
    assert sampled == list(range(count, 12))
    assert_same(all_arrays(folder, names), whole)


def test_other_settings_start_anew(folder, capsys, monkeypatch):
    def stop(self, numbers, result):
        self.waiting.append((numbers, result))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PartialResults, "add", stop)
        with pytest.raises(SystemExit):
            run(capsys, folder, "--num-samples", 20, "--num-images", 30, "--chunk-size", 100)
    assert (folder / "evaluation.partial").exists()
    assert "finished already" not in run(capsys, folder, "--num-samples", 21, "--num-images", 30)
    assert (arrays(folder)["num_samples"] == 21).all()


@pytest.mark.parametrize("estimator", ["importance", "bidirectional"])
def test_two_processes_give_the_same_numbers_as_one(folder, capsys, estimator):
    options, names = SMALL[estimator]
    arguments = [str(word) for word in (folder, "--estimator", estimator, "--num-images", 5, *options)]
    run(capsys, *arguments)
    alone = all_arrays(folder, names)
    for name in names:
        (folder / f"{name}.npz").unlink()
    command = [*TORCHRUN, "-m", "pyro_vae", "evaluate", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("saved in ") == 1  # one of them speaks
    assert_same(all_arrays(folder, names), alone)


def test_portions_are_put_in_order_and_belong_to_their_settings(tmp_path):
    portions = [PartialResults(tmp_path / "some", LogMarginal, {"samples": 9}, rank=rank) for rank in range(2)]
    portions[0].clear_others()
    portions[1].add([3, 1], results([3.0, 1.0]))
    portions[0].add([2, 0], results([2.0, 0.0]))
    for each in portions:
        each.flush()
    found = portions[0].finished()
    assert sorted(portions[0].numbers()) == [0, 1, 2, 3]
    assert found.log_prob.tolist() == [0, -1, -2, -3]
    portions[0].clear_others()
    assert len(portions[0].finished()) == 4  # the same settings: kept
    other = PartialResults(tmp_path / "some", LogMarginal, {"samples": 10})
    other.clear_others()
    assert other.numbers() == []


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
        (["--estimator", "annealed", "--target-acceptance", "1"], "Expected target_acceptance between 0 and 1"),
        (["--estimator", "bidirectional", "--num-warmup-chains", "0"], "Expected num_warmup_chains >= 1; got 0"),
        (["--estimator", "annealed", "--precision", "bf16"], "Expected --precision fp32 with --estimator annealed"),
    ],
)
def test_wrong_options_are_said_in_a_line(folder, capsys, options, text):
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", str(folder), *options])
    assert stopped.value.code == 2
    assert text in capsys.readouterr().err


def test_half_precision_is_recorded_and_starts_anew(folder, capsys):
    options = (folder, "--num-samples", 64, "--num-images", 6, "--chunk-size", 64)
    run(capsys, *options)
    plain = arrays(folder)["log_prob"]
    run(capsys, *options, "--precision", "bf16")
    assert json.loads((folder / "evaluation.json").read_text())["estimator_settings"]["precision"] == "bf16"
    difference = np.abs(arrays(folder)["log_prob"] - plain)
    assert 0 < difference.max() < 0.5


def test_names_of_estimators_are_those_of_the_option(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    assert "{" + ",".join(ESTIMATORS) + "}" in capsys.readouterr().out
