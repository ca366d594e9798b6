"""The best state is one with a finite validation loss, or there is an error."""

import functools
import math

import pytest
import torch
from examples import LinearGaussian

from pyro_vae import NonFiniteLoss, fit
from pyro_vae.training.selection import BestState

train = functools.partial(fit, progress=False, batch_size=8)


def selected(losses, *, warmup_steps=0, rates=None, kl_weight=1.0):
    """Feed distortions to a `BestState`, whose states are the epochs."""
    epochs = iter(range(len(losses) + 1))
    best = BestState(lambda: {"epoch": next(epochs)}, kl_weight, warmup_steps)
    for epoch, loss in enumerate(losses, 1):
        rate = 0.0 if rates is None else rates[epoch - 1]
        best.update({"epoch": epoch, "step": 10 * epoch, "validation_distortion": loss, "validation_rate": rate}, ["x"])
    return best


def test_the_lowest_loss_is_kept_and_epochs_since_then_are_counted_after_the_warm_up():
    best = selected([3.0, 1.0, 2.0, 1.0])
    assert (best.epoch, best.waited, best.warmed_up) == (2, 2, True)
    assert selected([1.0, 2.0, 2.0], warmup_steps=30).waited == 1
    assert not selected([1.0, 2.0], warmup_steps=21).warmed_up


def test_the_kl_weight_counts_and_at_0_the_rate_does_not():
    assert selected([2.0, 1.0], rates=[0.0, 3.0], kl_weight=0.1).epoch == 2
    assert selected([2.0, 1.0], rates=[0.0, 3.0], kl_weight=1.0).epoch == 1
    assert selected([2.0, 1.0], rates=[0.0, math.inf], kl_weight=0.0).epoch == 2


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_never_selected_and_said_once(bad):
    with pytest.warns(
        RuntimeWarning, match=rf"got {bad} in epoch 2, from the sites \['x'\]\. Such a state is"
    ) as caught:
        best = selected([3.0, bad, bad, 2.0, bad])
    assert len(caught) == 1
    assert (best.epoch, best.waited) == (4, 1)
    best.require_one()


def cliff(x):
    """Finite values whose log-probability is not, in single precision."""
    return torch.where(torch.arange(len(x)).unsqueeze(-1) == 2, 1e25, x)


def test_no_finite_validation_loss_is_an_error_that_names_the_sites():
    model, x = LinearGaussian(), torch.randn(24, 5)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with (
        pytest.warns(RuntimeWarning, match="got inf in epoch 1"),
        pytest.raises(NonFiniteLoss, match=r"got inf and no finite one in any epoch, from the sites \['x', 'z'\]"),
    ):
        train(model.model, model.mediocre_guide, x, validation=cliff(x), epochs=3)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


class Stumbling(LinearGaussian):
    """In evaluation mode its likelihood of the epochs named is NaN."""

    def __init__(self, epochs):
        super().__init__()
        self.epochs, self.epoch = epochs, 0

    def model(self, x):
        return super().model(x if self.training or self.epoch not in self.epochs else cliff(x))


def test_one_such_epoch_is_said_and_another_selected():
    model, x = Stumbling({2, 3}), torch.randn(24, 5)

    def on_step(step, metrics):
        if step % 3 == 2:  # before the last step of each epoch
            model.epoch += 1

    with pytest.warns(RuntimeWarning, match=r"got inf in epoch 2, from the sites \['x'\]"):
        result = train(model.model, model.guide, x, validation=x, epochs=4, on_step=on_step)
    assert [math.isfinite(entry["validation_elbo"]) for entry in result.history] == [True, False, False, True]
    assert result.best_epoch in (1, 4)
