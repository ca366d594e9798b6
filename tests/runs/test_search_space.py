"""What a search varies: ranges, choices, parts and their options."""

import pytest

from pyro_vae.runs.search_space import axes_of, chosen_layer


def axis(word):
    (found,) = axes_of([word])
    return found


@pytest.mark.parametrize(
    ("word", "choices", "logarithmic"),
    [
        ("learning_rate=1e-4..1e-2", (1e-4, 1e-2), True),
        ("--learning-rate=0.001..0.002", (0.001, 0.002), False),
        ("latent_dim=4..64", (4, 64), True),
        ("kl_weight=0..10", (0, 10), False),
        ("kl_weight=0.5..1", (0.5, 1.0), False),
        ("batch_size=32,64", ("32", "64"), False),
        ("prior=VampPrior:num_components=5,GaussianMixture:num_components=7,covariance=full", None, False),
    ],
)
def test_axes(word, choices, logarithmic):
    found = axis(word)
    assert found.choices == choices or choices is None
    assert [type(end) for end in found.choices] == [type(end) for end in choices or ("", "")]
    assert found.is_logarithmic is logarithmic


def test_commas_inside_a_candidate_belong_to_it():
    found = axis("prior=VampPrior:num_components=5,GaussianMixture:num_components=7,covariance=full")
    assert found.choices == ("VampPrior:num_components=5", "GaussianMixture:num_components=7,covariance=full")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Expected --search and what"),
        (["learning_rate"], "Expected --search NAME=LOW..HIGH or NAME=A,B,C; got 'learning_rate'"),
        (["learning_rat=1..2"], "got learning_rat. Did you mean learning_rate?"),
        (["data_seed=1..5"], "Expected a setting of the training or a part in --search; got data_seed"),
        (["latent_dim=8..4"], "from the smaller to the larger number in --search; got 'latent_dim=8..4'"),
        (["latent_dim=a..4"], "Expected numbers at the ends of a range in --search; got 'latent_dim=a..4'"),
        (["latent_dim=8"], "Expected at least two different values in --search; got 'latent_dim=8'"),
        (["latent_dim=8,8,4"], "Expected at least two different values"),
        (["latent_dim=4,8", "latent-dim=2..4"], "Expected each setting once in --search; got latent_dim twice"),
    ],
)
def test_what_is_no_axis_is_refused(words, said):
    with pytest.raises(ValueError, match="Expected") as refused:
        axes_of(words)
    assert said in str(refused.value)


def test_an_option_is_searched_only_where_the_part_has_it():
    axes = axes_of(["prior.num_components=5..50", "prior=StandardNormal,VampPrior"])
    values = {"prior": "VampPrior", "prior.num_components": 7}
    base = {"prior": "StandardNormal"}, {}
    assert chosen_layer(axes, base, lambda axis: values[axis.name]) == (
        {"prior": "VampPrior"},
        {"prior.num_components": 7},
    )
    values["prior"] = "StandardNormal"
    assert chosen_layer(axes, base, lambda axis: values[axis.name]) == ({"prior": "StandardNormal"}, {})
    assert axes[1].nearest(5) == 5
    assert axes[1].nearest(51) is None
    assert axes[0].nearest("LARS") is None
