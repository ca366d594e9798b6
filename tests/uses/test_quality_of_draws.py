"""Neighbours, memorization and fidelity against brute force and known values; directions against means of codes."""

import itertools
import math

import pytest
import torch
from examples import LinearGaussian

from pyro_vae import along, attribute_direction, fidelity, nearest, nearest_share


def test_neighbours_are_those_of_brute_force():
    x, among = torch.randn(700, 2, 3), torch.randn(40, 2, 3)
    distances, places = nearest(x, among, count=4)
    whole = (x.flatten(1)[:, None] - among.flatten(1)).norm(dim=-1).sort(-1)
    torch.testing.assert_close(distances, whole.values[:, :4])
    assert torch.equal(places, whole.indices[:, :4])


def test_copies_are_seen_and_fresh_draws_are_not():
    train, held_out, fresh = torch.randn(500, 4), torch.randn(300, 4), torch.randn(1000, 4)
    found = nearest_share(fresh, train, held_out)
    assert (found.num_draws, found.num_each) == (1000, 300)
    # The two sets differ by chance, too, by about as much as the draws: 0.5 is within five errors of both together.
    assert abs(found.value - 0.5) < 5 * found.standard_error * math.sqrt(1 + 1000 / 300)
    copies = nearest_share(train[:300] + 0.01 * torch.randn(300, 4), train[:300], held_out)
    assert copies.value > 0.95
    assert nearest_share(held_out, train, held_out).value == 0.0
    assert str(copies).startswith("nearest to training data: ")


def brute_force(draws, x, k):
    def radii(points):
        return [sorted(torch.dist(a, b).item() for b in points)[k] for a in points]  # the nearest is itself

    of_data, of_draws = radii(x), radii(draws)
    near = [[torch.dist(draw, point).item() for point in x] for draw in draws]
    inside = [[near[i][j] <= of_data[j] for j in range(len(x))] for i in range(len(draws))]
    recalled = [any(near[i][j] <= of_draws[i] for i in range(len(draws))) for j in range(len(x))]
    return (
        sum(map(any, inside)) / len(draws),
        sum(recalled) / len(x),
        sum(map(sum, inside)) / len(draws) / k,
        sum(map(any, zip(*inside, strict=True))) / len(x),
    )


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_fidelity_is_that_of_brute_force(shift):
    draws, x = torch.randn(30, 3, dtype=torch.double) * 0.7 + shift, torch.randn(25, 3, dtype=torch.double)
    found = fidelity(draws, x, num_neighbors=3)
    expected = brute_force(draws, x, 3)
    assert (found.precision, found.recall, found.density, found.coverage) == pytest.approx(expected)


def test_coverage_of_draws_from_the_data_is_known():
    n, k = 60, 5
    found = torch.tensor([fidelity(*torch.randn(2, n, 2).double(), num_neighbors=k).coverage for _ in range(100)])
    expected = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    assert abs(found.mean() - expected) < 5 * found.std() / 10


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (
            lambda: nearest(torch.zeros(2, 3), torch.zeros(2, 4)),
            r"Expected data points of one shape; got \(3,\) and \(4,\)",
        ),
        (lambda: nearest(torch.zeros(2, 3), torch.zeros(2, 3), count=3), r"Expected at least 3 data points"),
        (lambda: nearest(torch.zeros(2, 3), torch.zeros(2, 3), count=0), r"Expected count >= 1; got 0"),
        (lambda: fidelity(torch.zeros(9, 3), torch.zeros(5, 3)), r"Expected at least 6 data points"),
    ],
)
def test_too_little_is_refused(act, text):
    with pytest.raises(ValueError, match=text):
        act()


def test_a_direction_is_the_difference_of_mean_codes_and_leads_along_it():
    linear, x = LinearGaussian(), torch.randn(30, 5)
    has = x[:, 0] > 0
    with torch.no_grad():
        codes = linear.posterior(x).mean
        direction = attribute_direction(linear.model, linear.guide, x, has)
        torch.testing.assert_close(direction, codes[has].mean(0) - codes[~has].mean(0))
        some = attribute_direction(linear.model, linear.guide, x, has, lacks=torch.arange(30) == 3)
        torch.testing.assert_close(some, codes[has].mean(0) - codes[3])
        amounts = torch.tensor([0.0, 0.5, 2.0])
        found = along(linear.model, linear.guide, x[:4], direction, amounts=amounts)
        for i, (n, a) in enumerate(itertools.product(range(4), amounts)):
            expected = (codes[n] + a * direction) @ linear.weight.T + linear.bias
            torch.testing.assert_close(found.flatten(0, 1)[i], expected)


def test_directions_that_do_not_exist_are_refused():
    linear, x = LinearGaussian(), torch.randn(6, 5)
    for has, text in (
        (torch.zeros(6).bool(), "that have the attribute"),
        (torch.ones(6).bool(), "that lack the attribute"),
    ):
        with pytest.raises(ValueError, match=f"Expected data points {text}; got none"):
            attribute_direction(linear.model, linear.guide, x, has)
    with pytest.raises(ValueError, match=r"Expected truth values of shape \(6,\)"):
        attribute_direction(linear.model, linear.guide, x, torch.ones(6))
    with pytest.raises(ValueError, match=r"Expected a direction of shape \(2,\); got \(3,\)"):
        along(linear.model, linear.guide, x, torch.ones(3), amounts=torch.ones(1))
