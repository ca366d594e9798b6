"""Tables hold the numbers of the comparison, the best model first, and each states what they are."""

import json

import pytest
from test_comparison import evaluation

from pyro_vae import compare
from pyro_vae.evidence.tables import comparison_json, comparison_table, protocol_lines


@pytest.fixture
def comparison():
    runs = {
        "worse": [evaluation([-11.0, -12.0, -13.1], ess=3.25), evaluation([-11.2, -12.1, -13.0])],
        "best": [evaluation([-1.0, -2.0, -3.1]), evaluation([-1.2, -2.1, -3.0])],
        "near": [evaluation([-1.1, -1.9, -3.2]), evaluation([-1.2, -2.3, -3.0])],
    }
    return compare(runs)


def rows(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_models_stand_best_first_with_interval_error_ess_and_seeds(comparison):
    header, _, *body = rows(comparison_table(comparison).split("\n\n")[0])
    assert header == ["prior", "log p(x)", "95% interval", "Monte Carlo error", "smallest ESS", "unreliable", "seeds"]
    assert [row[0] for row in body] == ["best", "near", "worse"]
    for name, value, interval, error, ess, unreliable, seeds in body:
        e = comparison.log_marginal[name]
        assert (value, interval) == (f"{e.value:.2f}", f"[{e.low:.2f}, {e.high:.2f}]")
        assert error == f"{e.monte_carlo_error:.3f}"
        assert (ess, unreliable, seeds) == (f"{comparison.smallest_ess[name]:.1f}", "0", "2")
    assert body[2][4] in ("3.2", "3.3")


def test_of_many_pairs_those_with_the_best_are_shown(comparison):
    differences = rows(comparison_table(comparison, most_pairs=2).split("\n\n")[1])[2:]
    assert [row[0] for row in differences] == ["best - worse", "best - near"]
    assert comparison_table(comparison, most_pairs=3) == comparison_table(comparison)


def test_differences_are_those_of_the_better_minus_the_worse(comparison):
    header, _, *body = rows(comparison_table(comparison).split("\n\n")[1])
    assert header == ["paired difference", "nats", "95% interval", "above 0"]
    assert [row[0] for row in body] == ["best - worse", "near - worse", "best - near"]
    for name, value, interval, above in body:
        better, worse = name.split(" - ")
        e = comparison.differences.get((better, worse))
        low, high = (e.low, e.high) if e else sorted(-bound for bound in _other(comparison, better, worse))
        assert interval == f"[{low:.2f}, {high:.2f}]"
        assert float(value) >= 0
        assert above == ("yes" if low > 0 else "no")
    assert [row[3] for row in body] == ["yes", "yes", "no"]


def _other(comparison, better, worse):
    e = comparison.differences[worse, better]
    return e.low, e.high


def test_one_model_has_no_table_of_differences():
    assert "difference" not in comparison_table(compare({"a": [evaluation([-1.0, -2.0])]}))


@pytest.mark.parametrize("style", ["github", "simple", "html"])
def test_styles_of_tabulate(comparison, style):
    assert f"{comparison.log_marginal['best'].value:.2f}" in comparison_table(comparison, style=style)


def test_the_protocol_is_stated(comparison):
    text = "\n".join(protocol_lines(comparison, protocol="digits, 16 levels", likelihood="Bernoulli"))
    for part in (
        "digits, 16 levels",
        "Likelihood: Bernoulli",
        "nats per data point",
        "100 samples for each of 3",
        "95%, over data points and seeds",
        "Smallest ESS: 3.2 of 100",
    ):
        assert part in text


def test_json_holds_every_number_and_can_be_read_back(comparison):
    read = json.loads(json.dumps(comparison_json(comparison)))
    assert (read["num_data_points"], read["num_samples"]) == (3, 100)
    assert read["intervals"] == "95%, over data points and seeds"
    for name, e in comparison.log_marginal.items():
        entry = read["log_marginal"][name]
        assert {key: entry[key] for key in vars(e)} == vars(e)
        assert entry["smallest_ess"] == comparison.smallest_ess[name]
        assert entry["num_seeds"] == 2
    assert {(d["a"], d["b"]): d["value"] for d in read["differences"]} == {
        pair: e.value for pair, e in comparison.differences.items()
    }
