"""Intervals of a comparison cover, pairing by image pays, and errors say what was expected."""

import math
import statistics
from dataclasses import replace

import pytest
import torch

from pyro_vae import LogMarginal, Measured, compare


def evaluation(log_prob, *, ess=50.0, standard_error=0.1, num_samples=100):
    log_prob = torch.as_tensor(log_prob).double()
    fill = torch.ones_like(log_prob)
    return LogMarginal(log_prob, standard_error * fill, ess * fill, 0 * fill, (num_samples * fill).long())


def draw(generator, *, seeds, images=60, image=3.0, own=0.7, run=0.4, noise=0.5):
    """Evaluations of models with these numbers of seeds, all of true mean -90, in a crossed design.

    y = -90 + (image) + (model and image) + (run) + (image and run): images are shared by all models and runs.
    """

    def normal(scale, *shape):
        return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)

    shared = normal(image, images)
    return {
        name: list(map(evaluation, -90 + shared + normal(own, images) + normal(run, s, 1) + normal(noise, s, images)))
        for name, s in seeds.items()
    }


@pytest.mark.parametrize("seeds", [{"a": 3, "b": 3}, {"a": 2, "b": 5}, {"a": 4, "b": 1}])
def test_intervals_cover_and_are_not_too_wide(seeds):
    repetitions, generator = 400, torch.Generator().manual_seed(1)
    # A run effect cannot be seen in a single seed: there, the interval is over images alone, as it says.
    run = 0.4 if min(seeds.values()) > 1 else 0.0
    results = [compare(draw(generator, seeds=seeds, run=run)) for _ in range(repetitions)]
    for estimates, truth in (
        ([r.log_marginal["a"] for r in results], -90.0),
        ([r.log_marginal["b"] for r in results], -90.0),
        ([r.differences["a", "b"] for r in results], 0.0),
    ):
        covered = sum(e.low <= truth <= e.high for e in estimates) / repetitions
        assert covered > 0.95 - 5 * math.sqrt(0.95 * 0.05 / repetitions)
        spread = statistics.stdev(e.value for e in estimates)
        assert 0.8 < statistics.fmean(e.standard_error for e in estimates) / spread < 1.4
        assert abs(statistics.fmean(e.value for e in estimates) - truth) < 5 * spread / math.sqrt(repetitions)


def test_an_interval_with_a_shift_does_not_cover_the_old_truth():
    generator = torch.Generator().manual_seed(2)
    shifted = 0
    for _ in range(50):
        runs = draw(generator, seeds={"a": 3, "b": 3})
        runs["b"] = [evaluation(r.log_prob + 4) for r in runs["b"]]
        interval = compare(runs).differences["a", "b"]
        shifted += interval.high < 0
    assert shifted == 50


def test_a_paired_difference_is_narrower_than_an_unpaired_one():
    result = compare(draw(torch.Generator().manual_seed(3), seeds={"a": 3, "b": 3}, image=10.0))
    unpaired = math.hypot(*(e.standard_error for e in result.log_marginal.values()))
    assert result.differences["a", "b"].standard_error < unpaired / 2


def test_numbers_of_a_comparison():
    a = [evaluation([-1.0, -2.0], ess=7.0), evaluation([-3.0, -4.0], ess=5.0, num_samples=80)]
    b = [evaluation([-2.0, -2.0], standard_error=0.4)]
    result = compare({"a": a, "b": b})
    assert result.log_marginal["a"].value == pytest.approx(-2.5)
    assert result.log_marginal["b"].value == pytest.approx(-2.0)
    assert result.differences["a", "b"].value == pytest.approx(-0.5)
    # Images: var([-2, -3]) / 2; seeds of a: var([-1.5, -3.5]) / 2.
    assert result.log_marginal["a"].standard_error == pytest.approx(math.sqrt(0.25 + 1.0))
    assert result.log_marginal["b"] == Measured(-2.0, 0.0, pytest.approx(0.4 * math.sqrt(2) / 2), -2.0, -2.0)
    assert list(result.differences) == [("a", "b")]
    assert result.num_seeds == {"a": 2, "b": 1}
    assert (result.num_data_points, result.num_samples) == (2, {"a": (80, 100), "b": (100, 100)})
    assert result.seed_means == {"a": (-1.5, -3.5), "b": (-2.0,)}
    assert result.of_these_runs["a"].standard_error == pytest.approx(math.sqrt(0.25))
    # A difference to a model with one seed is over data points alone: var([-0.0, -1.0]) / 2.
    assert result.differences["a", "b"].standard_error == pytest.approx(math.sqrt(0.25))
    assert result.smallest_ess == {"a": 5.0, "b": 50.0}
    # a: mean over two runs of sqrt(2) 0.1 / 2 each, independent; b: one run, as above.
    errors = {"a": 0.1 * math.sqrt(4) / 4, "b": 0.4 * math.sqrt(2) / 2}
    assert result.log_marginal["a"].monte_carlo_error == pytest.approx(errors["a"])
    assert result.differences["a", "b"].monte_carlo_error == pytest.approx(math.hypot(*errors.values()))


def test_a_difference_is_had_in_both_orders():
    result = compare({"a": evaluation([-1.0, -2.0]), "b": evaluation([-2.0, -4.0])})
    for of_pairs in (result.differences, result.simultaneous):
        assert of_pairs["b", "a"] == -of_pairs["a", "b"]
        assert of_pairs["b", "a"].low == -of_pairs["a", "b"].high
    assert len(result.differences) == 1
    for names in (("a", "c"), ("a", "a"), "a"):
        with pytest.raises(KeyError, match="Expected two different models out of a, b; got"):
            result.differences[names]


def test_frames_are_the_printed_tables():
    result = compare({"a": evaluation([-2.0, -4.0]), "b": evaluation([-1.0, -2.5]), "c": evaluation([-1.0, -9.0])})
    table = result.differences_to_frame()
    assert list(table.index) == ["b - c", "a - c", "b - a"]
    assert table.loc["b - a", "difference"] == -result.differences["a", "b"].value == 1.25
    assert table.loc["b - a", "simultaneous_low"] == -result.simultaneous["a", "b"].high < table.loc["b - a", "low"]


def test_intervals_are_students():
    log_prob = torch.tensor([-1.0, -2.0, -4.0, -5.0])
    e = compare({"a": [evaluation(log_prob)]}).log_marginal["a"]
    half = 3.182446305284263 * log_prob.std().item() / 2  # t at 0.975 with 3 degrees of freedom
    assert (e.low, e.high) == pytest.approx((-3 - half, -3 + half))
    assert Measured(-3.0, 1.0, 0.0, -5.125, -1.0).interval == "-3.00 [-5.12, -1.00]"


def test_what_the_intervals_are_over():
    one, two = [evaluation([-1.0, -2.0])], [evaluation([-1.0, -2.0]), evaluation([-1.5, -2.0])]
    assert compare({"a": two, "b": two}).over == "data points and seeds"
    assert "data points alone" in compare({"a": one, "b": one}).over
    assert compare({"a": one}).differences == {}


def test_intervals_that_hold_at_once_are_those_of_a_higher_level():
    result = compare({name: [evaluation([-1.0, -2.0 - i, -4.0])] for i, name in enumerate("abc")})
    single, together = result.differences["a", "c"], result.simultaneous["a", "c"]
    ratio = 7.648804 / 4.302653  # t with 2 degrees of freedom at 1 - 0.05 / 6 and 0.975
    assert (together.high - together.value) / (single.high - single.value) == pytest.approx(ratio, rel=1e-5)
    assert compare({"a": [evaluation([-1.0, -2.0])]}).simultaneous == {}


def test_every_pair_of_models_is_compared_once():
    runs = draw(torch.Generator().manual_seed(4), seeds=dict.fromkeys("abcd", 2))
    assert list(compare(runs).differences) == [(p, q) for i, p in enumerate("abcd") for q in "abcd"[i + 1 :]]


@pytest.mark.parametrize(
    ("evaluations", "text"),
    [
        ({}, r"Expected at least one evaluation for each model; got \[\]\."),
        ({"a": [evaluation([-1.0, -2.0])], "b": []}, r"at least one evaluation for each model; got \[1, 0\]\."),
        (
            {"a": [evaluation([-1.0, -2.0])], "b": [evaluation([-1.0, -2.0, -3.0])]},
            r"on the same data points, .* got numbers of data points \[2, 3\]\.",
        ),
        ({"a": [evaluation([-1.0])]}, r"at least 2; got numbers of data points \[1\]\."),
        ({"a": [evaluation([-1.0, -2.0]), evaluation([-1.0, math.nan])]}, "Expected a finite .* got 1 others for a"),
        ({"a": [evaluation([-1.0, -math.inf])]}, "Expected a finite log .* got 1 others for a"),
    ],
)
def test_errors_say_what_was_expected(evaluations, text):
    with pytest.raises(ValueError, match=text):
        compare(evaluations)


def test_an_error_that_all_images_share_widens_a_single_seed():
    generator = torch.Generator().manual_seed(4)
    runs = draw(generator, seeds={"a": 1, "b": 2})
    plain = compare(runs)
    shared = compare(
        {name: [replace(r, shared_error=9.0 if name == "b" else 0.5) for r in rs] for name, rs in runs.items()}
    )
    for before, after, error in (
        (plain.log_marginal["a"], shared.log_marginal["a"], 0.5),
        (plain.differences["a", "b"], shared.differences["a", "b"], math.hypot(0.5, 9.0 / math.sqrt(2))),
    ):
        assert after.value == before.value
        assert after.standard_error == pytest.approx(math.hypot(before.standard_error, error))
    before, after = (c.log_marginal["b"] for c in (plain, shared))
    assert (after.low, after.value, after.high) == (
        before.low,
        before.value,
        before.high,
    )  # two seeds show theirs in their spread


def test_a_comparison_shows_its_numbers():
    result = compare({"a": [evaluation([-1.0, -2.0, -3.0])], "b": [evaluation([-1.5, -2.5, -3.5])]})
    first, _, *rows = repr(result).splitlines()
    assert first == "mean log p(x), nats; 95% intervals over data points alone (one seed), 3 data points"
    cells = [row.split() for row in rows if row]
    assert cells[2][:4] == ["a", "-2.00", "[-4.48,", "0.48]"]
    assert ["a", "-", "b", "0.50"] in [row[:4] for row in cells]
