"""`pyro-vae evaluate`: every estimator, interrupted and gone on with, and shared out over processes."""

import contextlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from pyro_vae.commands.main import main
from pyro_vae.disk.lock import locked
from pyro_vae.evidence import LogMarginal
from pyro_vae.runs.estimators import ESTIMATORS
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


def quick_warm_up(monkeypatch):
    for constant in ("FIRST_TRANSITIONS", "LEAST_TRANSITIONS"):
        monkeypatch.setattr(f"pyro_vae.evidence.annealed_chains.{constant}", 3)


def arrays(folder, name):
    with np.load(folder / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def results(numbers):
    values = torch.tensor(numbers).double()
    return LogMarginal(-values, values, values, values, torch.full((len(numbers),), 9))


@pytest.mark.drawn
def test_importance_sampling_draws_its_figures(folder, capsys):
    out = run(capsys, folder, "--num-samples", 60, "--num-images", 20, "--widen", 1.1, "--defensive", 0.05)
    assert "60 samples each" in out
    name = "evaluation_auto_60x20of300__widen-1.1__defensive-0.05"
    about = json.loads((folder / f"{name}.json").read_text())
    assert about["estimator_settings"]["widen"] == 1.1
    assert about["evaluation_protocol"] == "own settings"
    assert [level["num_samples"] for level in about["convergence"]] == [1, 10, 60]
    assert about["data_points_with_khat_above_0.7"] == int((arrays(folder, name)["khat"] > 0.7).sum())
    for end in ("", "_convergence", "_khat", "_dimensions"):
        assert (folder / f"{name}{end}.png").stat().st_size > 5000
    assert not (folder / f"{name}.partial").exists()


def test_a_target_gives_images_the_samples_they_need(folder, capsys):
    options = ("--num-samples", 20, "--target-standard-error", 0.1, "--max-samples", 640)
    out = run(capsys, folder, *options, "--num-images", 20)
    found = arrays(folder, "evaluation_auto_20x20of300__target_standard_error-0.1__max_samples-640")
    reached = int((found["standard_error"] <= 0.1).sum())
    assert f"standard error of at most 0.1 reached for {reached} of 20 data points" in out
    assert len(np.unique(found["num_samples"])) > 1
    assert set(found["num_samples"]) <= {20 * 2**i for i in range(6)}
    assert np.median(found["standard_error"]) < 0.12


def test_annealed_and_bidirectional(folder, capsys):
    quick = ("--num-chains", 4, "--num-temperatures", 10, "--num-leapfrog", 2, "--num-images", 6, "--widen", 1.1)
    run(capsys, folder, "--num-samples", 9, "--num-images", 6)
    before = (folder / "evaluation_auto_9x6of300.npz").read_bytes()
    name = "4x6of300__widen-1.1__num_temperatures-10__{}num_leapfrog-2"
    assert "acceptance of the transitions" in run(capsys, folder, "--estimator", "annealed", *quick)
    assert arrays(folder, f"evaluation_annealed_{name.format('')}")["details.acceptance"].shape == (6,)
    out = run(capsys, folder, "--estimator", "bidirectional", "--start", "prior", *quick)
    assert "6 data points simulated from the model" in out
    name = f"evaluation_bidirectional_{name.format('start-prior__')}"
    about = json.loads((folder / f"{name}.json").read_text())
    assert about["lower"]["estimator"] == "annealed importance sampling from the prior"
    found = arrays(folder, name)
    assert about["mean_gap"] == pytest.approx((found["upper.log_prob"] - found["lower.log_prob"]).mean())
    assert (about["lower"]["bound"], about["upper"]["bound"]) == ("lower", "upper")
    assert (folder / "evaluation_auto_9x6of300.npz").read_bytes() == before


CHAINS = "4x{}of300__num_temperatures-4__num_leapfrog-1"
SMALL = {  # estimator: options, name of its files with some images
    "guide": (("--num-samples", 20, "--chunk-size", 40), "evaluation_guide_20x{}of300"),
    "annealed": (QUICK, f"evaluation_annealed_{CHAINS}"),
    "bidirectional": (QUICK, f"evaluation_bidirectional_{CHAINS}"),
}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("estimator", SMALL)
def test_an_interrupted_evaluation_goes_on(folder, capsys, monkeypatch, estimator):
    quick_warm_up(monkeypatch)
    options, name = SMALL[estimator]
    name = name.format(12)
    options = (folder, "--estimator", estimator, "--num-images", 12, *options)
    run(capsys, *options)
    whole = arrays(folder, name)

    def add_and_stop(self, numbers, result):
        plain_add(self, numbers, result)
        first.extend(numbers)
        if len(first) >= 6:
            raise KeyboardInterrupt

    plain_add, first, sampled = PartialResults.add, [], []
    monkeypatch.setattr(PartialResults, "add", add_and_stop)
    with pytest.raises(SystemExit) as stopped:
        run(capsys, *options)
    assert stopped.value.code == 130
    said = capsys.readouterr()
    kept = re.search(r"stopped; (\d+) of 12 data points are kept: the same command goes on", said.err)
    count = int(kept[1])
    assert 6 <= count < 12
    assert first != sorted(first)  # a random part, so that its mean says something about all
    assert f"of a random {count} of the data points:" in said.out
    if estimator != "bidirectional":
        found = re.search(r"log p\(x\) = (\S+) nats per data point", said.out)
        assert abs(float(found[1]) - whole["log_prob"][first].mean()) < 2e-3
    assert (folder / f"{name}.json").exists()  # the earlier one

    def add_and_count(self, numbers, result):
        plain_add(self, numbers, result)
        sampled.extend(numbers)

    monkeypatch.setattr(PartialResults, "add", add_and_count)
    assert f"{count} of 12 data points are finished already" in run(capsys, *options)
    assert sorted(first + sampled) == list(range(12))
    assert_same(arrays(folder, name), whole)


def test_an_evaluation_stops_when_its_time_is_over(folder, capsys):
    """With what is finished, in order; without the limit it goes on to the numbers of one that was not stopped."""
    options = (folder, "--estimator", "guide", "--num-samples", 21, "--chunk-size", 42, "--num-images", 8)
    for count in (2, 4):
        out = run(capsys, *options, "--max-seconds", 1e-9)
        assert f"stopped; {count} of 8 data points are kept: the same command goes on" in out
        assert f"of a random {count} of the data points:\nlog p(x) = " in out
        assert "Monte Carlo, 21 samples each" in out
        assert not (folder / "evaluation_guide_21x8of300.json").exists()
    run(capsys, *options)
    stopped = arrays(folder, "evaluation_guide_21x8of300")
    run(capsys, *options, "--max-seconds", 1000)
    assert_same(arrays(folder, "evaluation_guide_21x8of300"), stopped)


def test_what_comes_all_at_once_has_no_time_limit(folder, capsys):
    with pytest.raises(SystemExit):
        run(capsys, folder, "--given", "x", "--max-seconds", 5)
    assert "Expected --max-seconds without --given, whose estimates come all at once; got both." in (
        capsys.readouterr().err
    )


def test_other_settings_start_anew(folder, capsys, monkeypatch):
    def stop(self, numbers, result):
        self.waiting.append((numbers, result))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PartialResults, "add", stop)
        with pytest.raises(SystemExit):
            run(capsys, folder, "--num-samples", 20, "--num-images", 30, "--chunk-size", 100)
    assert (folder / "evaluation_auto_20x30of300.partial").exists()
    assert "finished already" not in run(capsys, folder, "--num-samples", 21, "--num-images", 30)
    assert (arrays(folder, "evaluation_auto_21x30of300")["num_samples"] == 21).all()
    assert "of 30 data points are finished already" in run(capsys, folder, "--num-samples", "20", "--num-images", 30)


def test_evaluations_stand_beside_each_other(folder, capsys):
    """A smaller one takes nothing away: each has a name of its own, and is done once."""
    run(capsys, folder, "--num-samples", 30, "--num-images", 40)
    larger = (folder / "evaluation_auto_30x40of300.npz").read_bytes()
    run(capsys, folder, "--num-samples", 10, "--num-images", 8, "--seed", 2)
    assert (folder / "evaluation_auto_10x8of300__seed-2.json").exists()
    assert (folder / "evaluation_auto_30x40of300.npz").read_bytes() == larger


def test_the_protocol_of_the_field_has_a_name(folder, capsys):
    out = run(capsys, folder, "--protocol", "guide-5000", "--num-images", 3)
    assert "protocol: guide-5000" in out
    about = json.loads((folder / "evaluation_guide_5000x3of300.json").read_text())
    assert about["evaluation_protocol"] == "guide-5000"
    assert about["estimator"] == "importance sampling from the guide"
    for options in (("--num-samples", "10"), ("--widen", "1.1"), ("--estimator", "auto")):
        with pytest.raises(SystemExit):
            run(capsys, folder, "--protocol", "guide-5000", *options)
        assert "with --protocol guide-5000" in capsys.readouterr().err or options[0] == "--widen"


def test_too_few_samples_to_tell_are_said(folder, capsys):
    out = run(capsys, folder, "--num-samples", 10, "--num-images", 9, "--estimator", "guide")
    assert "too few samples to tell whether to trust 9 of 9 data points: k-hat needs 25" in out
    assert "the bound rose by" in out
    assert "from 1 to 10 samples" in out


def test_two_processes_give_the_same_numbers_as_one(folder, capsys):
    options, name = SMALL["guide"]
    name = name.format(5)
    arguments = [str(word) for word in (folder, "--estimator", "guide", "--num-images", 5, *options)]
    run(capsys, *arguments)
    alone = arrays(folder, name)
    (folder / f"{name}.npz").unlink()
    command = [*TORCHRUN, "-m", "pyro_vae", "evaluate", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("saved in ") == 1  # one of them speaks
    assert_same(arrays(folder, name), alone)


def test_what_another_rank_has_drawn_is_taken_by_number(folder, capsys, monkeypatch):
    quick_warm_up(monkeypatch)
    options, name = SMALL["bidirectional"]
    name = name.format(5)
    options = (folder, "--estimator", "bidirectional", "--num-images", 5, *options)
    run(capsys, *options)
    alone = arrays(folder, name)
    with monkeypatch.context() as patch:
        (folder / f"{name}.partial").mkdir()
        patch.setattr("pyro_vae.commands.evaluate.wait_for_others", lambda _: None)
        patch.setattr("pyro_vae.commands.evaluate.processes", lambda _: contextlib.nullcontext((1, 2)))
        run(capsys, *options)
    assert "2 of 5 data points are finished already" in run(capsys, *options)
    assert_same(arrays(folder, name), alone)


@pytest.fixture
def portions(tmp_path):
    """Results of four images in two files."""
    portions = [PartialResults(tmp_path / "some", LogMarginal, {"samples": 9}, rank=rank) for rank in range(2)]
    portions[0].open()
    portions[1].add([3, 1], results([3.0, 1.0]))
    portions[0].add([2, 0], results([2.0, 0.0]))
    for each in portions:
        each.flush()
    return portions[0]


def test_portions_are_put_in_order_and_belong_to_their_settings(portions):
    assert sorted(portions.numbers()) == [0, 1, 2, 3]
    assert portions.finished(4).log_prob.tolist() == [0, -1, -2, -3]
    portions.open()
    assert len(portions.finished(4)) == 4  # the same settings: kept
    other = PartialResults(portions.folder, LogMarginal, {"samples": 10})
    other.open()
    assert other.numbers() == []
    assert list(portions.folder.iterdir()) == []


def first_with_a_flipped_bit(folder):
    path = folder / "0-00000002.npz"
    content = path.read_bytes()
    path.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])


def first_without_its_end(folder):
    path = folder / "0-00000002.json"
    path.write_bytes(path.read_bytes()[:-20])


def first_of_the_second(folder):
    (folder / "1-00000003.npz").replace(folder / "0-00000002.npz")


def first_with_other_numbers(folder):
    path = folder / "0-00000002.json"
    path.write_text(path.read_text().replace("2,\n", "5,\n"))


def first_of_two_images_more(folder):
    results([7.0]).save(folder / "0-00000002", {"numbers": [9], "settings_sha256": "of other settings"})


@pytest.mark.parametrize(
    "damage",
    [
        first_with_a_flipped_bit,
        first_without_its_end,
        first_of_the_second,
        first_with_other_numbers,
        first_of_two_images_more,
    ],
)
def test_damaged_portions_are_drawn_again_and_nothing_else_is_removed(portions, damage):
    (portions.folder / "notes-1.json").write_text("mine")
    damage(portions.folder)
    portions.open()
    assert set(portions.numbers()) <= {3, 1}
    assert not (portions.folder / "0-00000002.json").exists()
    with pytest.raises(ValueError, match=r"Expected results of 4 data points, each once, in .*; got [02]"):
        portions.finished(4)
    portions.add([0, 2], results([0.0, 2.0]))
    portions.flush()
    if len(portions.numbers()) == 4:
        assert portions.finished(4).log_prob.tolist() == [0, -1, -2, -3]
    portions.remove()
    assert [path.name for path in portions.folder.iterdir()] == ["notes-1.json"]


def test_one_process_at_a_time_evaluates_with_an_estimator(folder, capsys):
    with locked(folder / ".evaluation_auto", doing="evaluating"):
        with pytest.raises(SystemExit):
            run(capsys, folder, "--num-samples", 20, "--num-images", 5)
        assert "Expected no other process evaluating" in capsys.readouterr().err
        run(capsys, folder, "--estimator", "annealed", "--num-images", 5, *QUICK)


def test_a_full_disk_costs_no_finished_image(folder, capsys, monkeypatch):
    options = (folder, "--num-samples", 20, "--num-images", 7, "--seed", 3)

    def full(*_, **__):
        raise OSError("Expected to write evaluation.npz; got an error: No space left on device.")

    with monkeypatch.context() as patch:
        patch.setattr("pyro_vae.commands.evaluate.save_evaluation", full)
        with pytest.raises(SystemExit):
            run(capsys, *options)
    assert "No space left on device" in capsys.readouterr().err
    assert "7 of 7 data points are finished already" in run(capsys, *options)


def test_other_data_than_the_run_was_trained_on_are_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 2, (40, 6)).astype(np.float32)
    np.save("mine.npy", pixels)
    small = ["--latent-dim", "2", "--epochs", "1", "--network", "MLP", "--network.hidden", "[4]"]
    main(["train", "--data", "mine.npy", *small, "--out", "run"])
    run(capsys, "run", "--num-samples", 5)
    np.save("mine.npy", pixels[::-1])
    for command in ("evaluate", "diagnose"):
        with pytest.raises(SystemExit):
            main([command, "run"])
        assert "Expected the data that run was trained on; got other values" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--memory-budget", "a lot"], "Expected a size in bytes, such as '1GiB'"),
        (["--memory-budget", "100"], "Expected a memory budget of at least"),
        (["--widen", "0"], "Expected scale > 0; got 0.0"),
        (["--defensive", "1"], "Expected defensive from 0 to below 1"),
        (["--target-standard-error", "0"], "Expected target_standard_error > 0"),
        (["--estimator", "importance"], "Expected --estimator guide, as it is called in Python, too; got importance"),
        (["--estimator", "harmonic"], "Expected --estimator to be auto or guide or annealed or bidirectional"),
        (["--estimator", "annealed", "--num-chains", "0"], "Expected num_chains >= 1; got 0"),
        (["--estimator", "annealed", "--target-acceptance", "1"], "Expected target_acceptance between 0 and 1"),
        (["--estimator", "bidirectional", "--num-warmup-chains", "0"], "Expected num_warmup_chains >= 1; got 0"),
        (["--precision", "bf16"], "got --precision, which belongs to --estimator guide"),
        (["--estimator", "annealed", "--num-samples=9"], "Expected an option of --estimator annealed, --num-chains, "),
        (["--num-chains", "9"], "got --num-chains, which belongs to --estimator annealed or bidirectional"),
    ],
)
def test_wrong_options_are_said_in_a_line(folder, capsys, options, text):
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", str(folder), *options])
    assert stopped.value.code == 2
    assert text in capsys.readouterr().err


def test_half_precision_is_recorded_and_starts_anew(folder, capsys):
    name = "evaluation_guide_64x6of300"
    options = (folder, "--estimator", "guide", "--num-samples", 64, "--num-images", 6, "--chunk-size", 64)
    run(capsys, *options)
    plain = arrays(folder, name)["log_prob"]
    run(capsys, *options, "--precision", "bf16")
    name += "__precision-bf16"
    assert json.loads((folder / f"{name}.json").read_text())["estimator_settings"]["precision"] == "bf16"
    difference = np.abs(arrays(folder, name)["log_prob"] - plain)
    assert 0 < difference.max() < 0.5


def test_names_of_estimators_are_those_of_the_option(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    assert list(ESTIMATORS) == ["auto", "guide", "annealed", "bidirectional"]
    assert "{" + ",".join(ESTIMATORS) + "}" in capsys.readouterr().out
