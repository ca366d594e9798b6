"""Tables hold the numbers of the comparison, the best model first, and each states what they are."""

import copy
import functools
import json
import operator
import re
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_comparison import evaluation

from pyro_vae import Comparison, compare, load, plots
from pyro_vae.disk.json_files import write_json
from pyro_vae.evidence.tables import comparison_json, comparison_markdown, comparison_table, protocol_lines

RESULTS = Path(__file__).parents[2] / "experiments" / "results"


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


def tables(comparison, **options):
    content = json.loads(json.dumps(comparison_json(comparison)))
    return [rows(table) for table in comparison_table(content, **options).split("\n\n")]


def test_models_stand_best_first_with_all_that_is_to_be_known(comparison):
    header, _, *body = tables(comparison)[0]
    assert header[:4] == ["model", "log p(x)", "95% interval", "Monte Carlo error"]
    assert header[4:] == ["smallest ESS", "largest k-hat", "unreliable", "seeds"]
    assert [row[0] for row in body] == ["best", "near", "worse"]
    for name, value, interval, error, ess, khat, unreliable, seeds in body:
        e = comparison.log_marginal[name]
        assert (value, interval) == (f"{e.value:.2f}", f"[{e.low:.2f}, {e.high:.2f}]")
        assert error == f"{e.monte_carlo_error:.3f}"
        assert (ess, khat) == (f"{comparison.smallest_ess[name]:.1f}", "0.00")
        assert (unreliable, seeds) == ("0 of 6", "2")
    assert body[2][4] in ("3.2", "3.3")


def test_of_many_pairs_those_with_the_best_are_shown(comparison):
    differences = tables(comparison, most_pairs=2)[1][2:]
    assert [row[0] for row in differences] == ["best - worse", "best - near"]
    assert tables(comparison, most_pairs=3) == tables(comparison)


def test_differences_are_those_of_the_better_minus_the_worse(comparison):
    header, _, *body = tables(comparison)[1]
    assert header == ["paired difference", "nats", "95% interval", "all 3 at once", "above 0"]
    assert [row[0] for row in body] == ["best - worse", "near - worse", "best - near"]
    for name, value, interval, at_once, above in body:
        better, worse = name.split(" - ")
        sign = 1 if (better, worse) in comparison.differences else -1
        pair = (better, worse) if sign == 1 else (worse, better)
        assert float(value) >= 0
        for text, e in ((interval, comparison.differences[pair]), (at_once, comparison.simultaneous[pair])):
            low, high = sorted((sign * e.low, sign * e.high))
            assert text == f"[{low:.2f}, {high:.2f}]"
        assert above == ("yes" if low > 0 else "no")
    assert [row[4] for row in body] == ["yes", "yes", "no"]


def test_a_difference_is_said_to_be_above_0_where_all_intervals_hold_at_once():
    """One of six pairs, clear by itself: not clear for one that may have been picked because it is large."""
    generator = torch.Generator().manual_seed(0)

    def seeds(mean):
        noise = torch.randn(3, 200, dtype=torch.float64, generator=generator)
        return [evaluation(mean + 0.05 * shift + 0.5 * n) for shift, n in zip((-1, 0, 1), noise, strict=True)]

    models = compare({name: seeds(mean) for name, mean in (("a", 0.0), ("b", 0.0), ("c", 0.0), ("d", 0.13))})
    row = next(row for row in tables(models)[1] if row[0] == "d - a")
    assert models.differences["a", "d"].high < 0  # by itself
    assert row[4] == "no"


def test_one_seed_is_never_clear_beside_several():
    one = [evaluation([-1.0, -2.0, -3.0])]
    two = [evaluation([-11.0, -12.1, -13.0]), evaluation([-19.0, -20.0, -21.1])]
    three = [evaluation([-31.0, -32.1, -33.0])] * 3
    models, differences = tables(compare({"one": one, "two": two, "three": three}))
    assert models[0][2:4] == ["95% interval", "over data points alone"]
    by_name = {row[0]: row for row in models[2:]}
    assert by_name["one"][2] == "one seed"
    assert by_name["one"][3].startswith("[")
    assert by_name["two"][2].startswith("[")
    above = {row[0]: row[-1] for row in differences[2:]}
    assert (above["one - two"], above["one - three"]) == ("one seed", "one seed")
    text = " ".join(protocol_lines(comparison_json(compare({"one": one, "two": two, "three": three}))))
    assert "over data points alone for one (one seed)" in text
    assert "Two seeds (two) are too few" in text


def test_without_seeds_intervals_are_those_of_these_runs():
    header, _, row = tables(compare({"a": [evaluation([-1.0, -2.0, -3.1])], "b": [evaluation([-5.0, -6.0, -7.0])]}))[1]
    assert header == ["paired difference", "nats", "95% interval, data points alone", "above 0, these runs"]
    assert row[-1] == "yes"


def test_one_model_has_no_table_of_differences():
    assert len(tables(compare({"a": [evaluation([-1.0, -2.0])]}))) == 1


@pytest.mark.parametrize("style", ["github", "simple", "html"])
def test_styles_of_tabulate(comparison, style):
    text = comparison_table(comparison_json(comparison), style=style)
    assert f"{comparison.log_marginal['best'].value:.2f}" in text


def test_a_table_for_a_paper_says_the_same(comparison):
    """The cells of the printed tables, letter by letter, where LaTeX gives none of its own meaning to them."""
    text = compare({"50%_a": evaluation([-1.0, -2.0]), "b": evaluation([-2.0, -4.0])}).to_latex()
    assert r"50\%\_a $-$ b" in text
    assert "log p(x)" not in text.replace(r"$\log p(x)$", "")
    text = comparison.to_latex()
    assert text.count(r"\begin{tabular}") == text.count(r"\bottomrule") == 2
    assert r"\caption{Mean $\log p(x)$ in nats per data point, and paired differences.}" in text
    assert r"95\%, over data points and seeds; differences are paired" in text
    printed = [row for table in tables(comparison) for row in [table[0], *table[2:]]]
    lines = [line.rstrip(" \\").split("&") for line in text.splitlines() if line.count("&") > 1]
    for row, line in zip(printed, lines, strict=True):
        cells = [cell.strip().replace("$-$", "-").replace(r"\%", "%") for cell in line]
        assert [cell.replace(r"$\log p(x)$", "log p(x)").replace(r"$\hat{k}$", "k-hat") for cell in cells] == row


def test_markdown_is_that_of_the_command_line_but_for_the_command(comparison):
    content = comparison_json(comparison)
    assert comparison.to_markdown() == "\n\n".join([comparison_table(content), *protocol_lines(content)]) + "\n"


def test_a_comparison_comes_back_from_its_folder(comparison, tmp_path):
    about = {"protocol": "digits", "varied": "prior", "likelihood": ["Bernoulli"]}
    write_json(tmp_path / "comparison.json", {**comparison_json(comparison), **about}, kind="comparison")
    again = Comparison.load(tmp_path)
    assert replace(again, about={}) == comparison
    assert again.differences["worse", "best"] == comparison.differences["worse", "best"]
    assert again.to_markdown().startswith("| prior ")
    assert "Data: digits. Likelihood: Bernoulli. " in again.to_latex().replace("\n", " ")
    assert again.cautions == comparison.cautions
    with pytest.raises(ValueError, match=r"holds a comparison. Write Comparison.load\("):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match="Expected a folder made by pyro-vae compare; got no "):
        Comparison.load(tmp_path / "nowhere")
    old = comparison_json(comparison)
    del old["log_marginal"]["best"]["standard_error_over_data_points_alone"]
    write_json(tmp_path / "comparison.json", old, kind="comparison")
    with pytest.raises(ValueError, match=r"it is of another version\. Run its command again"):
        Comparison.load(tmp_path)


def test_what_is_read_of_a_comparison_can_be_shown(comparison, tmp_path):
    """Each entry in turn is gone, or something else, with a digest that is right."""
    content = {**comparison_json(comparison), "command": "c", "threads": 1, "device": "d", "date": "2026", "seconds": 1}
    places = [[name] for name in content]
    places += [["log_marginal", "best", name] for name in content["log_marginal"]["best"]]
    places += [["differences", 0, name] for name in content["differences"][0]]
    refused = shown = 0
    for *above, last in [*places, ["log_marginal", "best"], ["differences", 0]]:
        for odd in (None, "x", 10**400, [], [[]], {"a": [1]}, "gone"):
            changed = copy.deepcopy(content)
            entry = functools.reduce(operator.getitem, above, changed)
            if odd == "gone":
                del entry[last]
            else:
                entry[last] = odd
            write_json(tmp_path / "comparison.json", changed, kind="comparison")
            try:
                found = Comparison.load(tmp_path)
            except ValueError as error:
                refused += re.match(r"Expected .* Run its command again", str(error)) is not None
            else:
                shown += all([repr(found), found._repr_html_(), found.to_markdown(), found.to_latex()])
    assert refused + shown == 7 * (len(places) + 2)
    assert refused > shown


def test_conditional_densities_are_called_so():
    given = [replace(evaluation([-1.0, -2.0]), sites={"x": 4}, inputs=("y",)) for _ in range(2)]
    both = compare({"a": given, "b": given})
    assert ("log p(x | y)" in repr(both), both.caution.count("log p")) == (True, 0)
    assert r"| model   |   log p(x \| y) |" in both.to_markdown()  # the bar would be that of a column
    assert r"$\log p(x \mid y)$" in both.to_latex()
    assert plots.comparison_figure(both).axes[0].get_xlabel().startswith("log p(x | y), nats")
    assert plots.log_marginal_histogram(given[0]).axes[0].get_xlabel() == "log p(x | y), nats"
    beside = compare({"a": given, "b": [replace(each, inputs=()) for each in given]})
    assert "Different quantities (a log p(x | y); b log p(x)): " in beside.caution
    assert tables(beside)[0][0][:2] == ["model", "log p(x)"]


def test_names_with_a_mark(comparison):
    content = {**comparison_json(comparison), "marked": ["near"], "varied": "prior"}
    body = rows(comparison_table(content).split("\n\n")[0])
    assert [row[0] for row in body if row[0][0] != "-"] == ["prior", "best", "near *", "worse"]


def test_the_protocol_is_stated(comparison):
    about = {"protocol": "digits, 16 levels", "likelihood": ["Bernoulli"]}
    text = "\n".join(protocol_lines({**comparison_json(comparison), **about}))
    for part in (
        "digits, 16 levels",
        "Likelihood: Bernoulli",
        "nats per data point",
        "100 samples for each of 3",
        "95%, over data points and seeds",
        "all 3 differences at once (Bonferroni) hold for the best of 3 models",
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
        assert sum(entry["seeds"]) / 2 == pytest.approx(e.value)
        assert entry["num_seeds"] == 2
    assert {(d["a"], d["b"]): d["value"] for d in read["differences"]} == {
        pair: e.value for pair, e in comparison.differences.items()
    }


def mixed():
    few = replace(evaluation([-1.0, -2.0, -3.0], num_samples=10), khat=torch.full((3,), float("nan")).double())
    fitted = evaluation([-1.0, -2.0, -3.0]).with_details(rung=torch.ones(3))
    return compare({"few": few, "fitted": fitted, "guide": evaluation([-1.0, -2.0, -3.0])})


def test_mixtures_and_too_few_samples_are_marked():
    text = mixed().caution
    assert "Different numbers of samples (few 10, fitted 100, guide 100)" in text
    assert "Different proposals: fitted to the data point (few for 0%, fitted for 100%, guide for 0%)" in text
    assert "Too few samples to tell whether to trust them, fewer than 25 for a k-hat: few 3 of 3" in text
    assert "3 untold" in comparison_table(comparison_json(mixed()))


def test_annealed_chains_are_not_taken_for_fewer_samples():
    plain = evaluation([-1.0, -2.0, -3.0]).with_details(rung=torch.ones(3))
    counts = torch.tensor([100, 100, 64])
    chains = replace(plain, num_samples=counts, details={"rung": torch.tensor([1, 1, 7])})
    assert compare({"plain": plain, "chains": chains}).num_samples == {"plain": (100, 100), "chains": (100, 100)}
    assert compare({"plain": plain, "chains": chains[[2, 2, 2]]}).num_samples["chains"] == (64, 64)


def test_comparisons_that_are_kept_are_those_of_their_json():
    found = list(RESULTS.glob("*comparison.json"))
    written = runpy.run_path(str(RESULTS.parent / "readme_tables.py"), run_name="tables")["TABLES"]
    assert {path.name for path in RESULTS.glob("*.md")} == {path.with_suffix(".md").name for path in found} | {*written}
    for path in found:
        content = json.loads(path.read_text())
        assert path.with_suffix(".md").read_text() == comparison_markdown(content), path
        assert re.search(r"^\| ", comparison_markdown(content), flags=re.MULTILINE)
