"""Results as tables: the numbers of each data point, model, dimension, in pandas, CSV, LaTeX, Markdown and HTML."""

import dataclasses
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae import LogMarginal, annealed_log_marginal, compare, diagnose, log_marginal


def model(x):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def guide(x):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(x / 2, 0.5**0.5).to_event(1))


def result(shift=0.0):
    values = torch.linspace(-3, -1, 5).double() + shift
    return LogMarginal(values, values.abs() / 10, values.abs(), values.abs() / 5, torch.full((5,), 20))


def test_a_row_for_each_data_point():
    pytest.importorskip("pandas")
    x = torch.randn(6, 2)
    estimate = log_marginal(model, guide, x, num_samples=20, estimator="guide")
    frame = estimate[2:5].to_frame()
    assert frame.index.tolist() == [2, 3, 4]  # still their numbers in x
    assert frame.index.name == "data_point"
    assert frame["log_prob"].tolist() == estimate.log_prob[2:5].tolist()
    assert frame["unreliable"].dtype == bool
    assert estimate[4].to_frame().index.tolist() == [4]
    some = log_marginal(model, guide, x, num_samples=20, estimator="guide", only=[4, 1])
    assert some.to_frame().index.tolist() == [4, 1]
    assert LogMarginal.join([some, estimate]).to_frame().index.tolist() == [4, 1, 0, 1, 2, 3, 4, 5]


def test_numbers_of_data_points_are_saved(tmp_path):
    some = log_marginal(model, guide, torch.randn(6, 2), num_samples=20, estimator="guide", only=[4, 1])
    some.save(tmp_path / "a")
    assert LogMarginal.load(tmp_path / "a").indices.tolist() == [4, 1]


def test_wide_details_become_columns():
    pytest.importorskip("pandas")
    estimate = annealed_log_marginal(model, guide, torch.randn(3, 2), num_chains=2, num_temperatures=4, only=[2, 0])
    frame = estimate.to_frame()
    assert frame.index.tolist() == [2, 0]
    last = estimate.details["temperatures"].shape[1] - 1
    assert frame[["temperatures_0", f"temperatures_{last}"]].to_numpy().tolist() == [[0, 1], [0, 1]]
    assert frame.shape[1] == len(set(frame.columns))


def test_a_comparison_as_csv_latex_and_markdown():
    pytest.importorskip("pandas")
    comparison = compare({"a_1": [result(), result(0.1)], "b": [result(1.0), result(1.1)]})
    frame, differences = comparison.to_frame(), comparison.differences_to_frame()
    assert frame.index.tolist() == ["b", "a_1"]
    assert frame.loc["a_1", "log_marginal"] == comparison.log_marginal["a_1"].value
    assert differences.loc["b - a_1", "difference"] == pytest.approx(1.0)
    assert frame.to_csv().startswith("model,log_marginal,low,high,")
    assert frame.to_markdown().startswith("| model")
    pytest.importorskip("jinja2")
    assert "\\toprule" in frame.to_latex(escape=True)
    assert "a\\_1" in frame.to_latex(escape=True)


def test_a_row_for_each_latent_dimension():
    pytest.importorskip("pandas")
    found = diagnose(model, guide, torch.randn(30, 2), num_samples=3)
    frame = found.to_frame()
    assert frame.index.tolist() == ["z[0]", "z[1]"]
    assert frame["information"].tolist() == found.information.tolist()


def test_notebooks_show_a_table():
    found = diagnose(model, guide, torch.randn(30, 2), num_samples=3)
    comparison = compare({"<a>": result(), "b": dataclasses.replace(result(1.0), khat=torch.ones(5).double())})
    for shown in (result(), comparison, found):
        assert "<table>" in shown._repr_html_()
    assert "&lt;a&gt;" in comparison._repr_html_()
    assert "<a>" not in comparison._repr_html_()
    assert "Not to be trusted" in comparison._repr_html_()
    assert str(found.rate) in found._repr_html_()


def test_without_pandas_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        ImportError, match=r"Expected pandas to make a table; it is not installed\. Run pip install pandas"
    ):
        result().to_frame()
