"""What the command line says of an estimate: how far it is to be trusted, and what can help that was not used yet."""

import math

import pytest
import torch

from pyro_vae import LogMarginal
from pyro_vae.commands import evaluate
from pyro_vae.commands.evaluation import defaults_of, protocol_of, say_estimate
from pyro_vae.runs.parser import Parser

IMPORTANCE = {"estimator": "guide", "widen": 1.0}


def result(*khat, num_samples=1000, **details):
    tails = torch.tensor(khat).double()
    values = tails.nan_to_num(0.3)
    details = {name: torch.full((len(values),), number) for name, number in details.items()}
    counts = torch.full((len(values),), num_samples)
    return LogMarginal(-values, values.abs() / 9, values.abs() + 1, tails, counts, details=details)


LEAVING_OUT = {"rung": 6, "evaluations": 9, "left_out": 0.1}


@pytest.mark.parametrize(
    ("khat", "details", "settings", "advice"),
    [
        (0.8, {}, IMPORTANCE, "more --num-samples or --widen 1.1 or --estimator auto or --estimator annealed"),
        (0.8, {}, {**IMPORTANCE, "widen": 1.1}, "more --num-samples or --estimator auto or --estimator annealed"),
        (1.2, {}, IMPORTANCE, "--widen 1.1 or --estimator auto or --estimator annealed; more samples do not help"),
        (1.2, {"rung": 3, "evaluations": 9}, {"estimator": "auto"}, "--estimator annealed; more samples do not help"),
        (0.8, {"rung": 3, "evaluations": 9}, {"estimator": "auto"}, "more --num-samples or --estimator annealed"),
        (1.0, LEAVING_OUT, {"estimator": "auto"}, "--estimator annealed; more samples do not help"),
        (1.0, {**LEAVING_OUT, "left_out": 0.0}, {"estimator": "auto"}, "more --num-samples or --estimator annealed"),
        (0.8, {"acceptance": 0.9}, {"estimator": "annealed"}, "more --num-temperatures or --num-chains"),
        (1.2, {"acceptance": 0.9}, {"estimator": "annealed"}, "more --num-temperatures; more chains do not help"),
    ],
)
def test_advice_fits_the_case(khat, details, settings, advice):
    text = say_estimate(result(khat, 0.1, **details), settings)
    assert "not to be trusted for 1 of 2" in text
    assert f"Try {advice}" in text
    assert ("Of 1, mass was found that the proposals hardly reach" in text) == (details.get("left_out", 0) > 0)


def test_annealed_chains_of_the_default_are_no_samples():
    text = say_estimate(result(0.5, 0.6, num_samples=64, rung=7, evaluations=9), {"estimator": "auto"})
    assert "fitted Gaussians beside it for 0, annealed chains for 2;" in text
    assert "limit for so few" not in text


def test_fewer_samples_do_not_look_safer():
    """The limit of k-hat falls with the samples; below 25 there is no k-hat, and that is said."""
    assert result(0.5, num_samples=50).khat_limit.item() == pytest.approx(1 - 1 / math.log10(50))
    assert result(0.5, num_samples=5000).khat_limit.item() == 0.7
    text = say_estimate(result(0.5, 0.6, 0.1, num_samples=50), IMPORTANCE)
    assert "2 of 3 are above 0.41, the limit for so few" in text
    assert "limit for so few" not in say_estimate(result(0.5, 0.6, 0.1), IMPORTANCE)
    text = say_estimate(result(math.inf, math.nan, num_samples=3), IMPORTANCE)  # no weight of the first is finite
    assert "limit for so few" not in text
    assert "not to be trusted for 1 of 2 data points" in text
    text = say_estimate(result(math.nan, math.nan, num_samples=10), IMPORTANCE)
    assert "too few samples to tell whether to trust 2 of 2 data points: k-hat needs 25" in text
    assert "samples too few to tell whether to trust 2 data points" in repr(result(math.nan, math.nan, num_samples=10))


def test_a_target_says_for_how_many_it_was_reached():
    text = say_estimate(result(0.1, 0.5, 0.9), {**IMPORTANCE, "target_standard_error": 0.06})
    assert "at most 0.06 reached for 2 of 3 data points; the largest is 0.100" in text


@pytest.mark.parametrize("words", [["--protocol", "guide-5000"], ["--protocol=guide-5000", "--widen", "1.0"]])
def test_a_protocol_brings_the_options_of_its_estimator(words):
    chosen = evaluate.parse(Parser(), ["run", "--num-images", "10", *words])
    assert (chosen.estimator, chosen.num_samples, chosen.precision) == ("guide", 5000, "fp32")
    with pytest.raises(ValueError, match="without options that change it"):
        evaluate.parse(Parser(), ["run", "--protocol", "guide-5000", "--widen", "1.1"])


def test_protocols_have_names():
    default = {"estimator": "auto", "num_samples": 1000, **defaults_of("auto")}
    assert protocol_of(default) == "default"
    assert protocol_of({**default, "seed": 3, "num_images": 50}) == "default"
    assert protocol_of({**default, "widen": 1.1}) == "own settings"
    assert protocol_of({**default, "estimator": "guide", "num_samples": 5000}) == "guide-5000"
