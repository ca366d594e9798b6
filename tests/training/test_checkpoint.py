"""A training that was stopped or killed goes on to the same bits, or is refused; the last good checkpoint stays."""

import errno
import json
import math
import multiprocessing
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import PAIRS
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, MultiStepLR, OneCycleLR
from torch.utils.data import DataLoader, Dataset, TensorDataset

from pyro_vae import Checkpoint, KLWarmup, StopTraining, adam, fit
from pyro_vae.compiled.elbo import CompiledELBO
from pyro_vae.disk.lock import locked
from pyro_vae.training.checkpoint_files import read_newest, saved_epochs
from pyro_vae.training.selection import BestState


class Pair(nn.Module):
    """With all that a module can hold from step to step."""

    def __init__(self, width=3, seed=1):
        super().__init__()
        torch.manual_seed(seed)
        self.encode = nn.Sequential(nn.Linear(width, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2))
        self.out = nn.Linear(8, 4)
        self.decode = nn.Linear(2, width)
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decode(z)).to_event(1), obs=x)

    def guide(self, x):
        if self.training:
            self.calls += 1
        h = self.out(self.encode(x * (1 + self.calls / 1000)))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(h[:, :2], h[:, 2:].exp()).to_event(1))


def module():
    pair = Pair()
    return pair.model, pair.guide


def functions():
    """With a module, a constrained parameter of its own, and one without gradient steps to speak of."""
    torch.manual_seed(2)
    net = nn.Linear(3, 2)

    def model(x):
        weight = pyro.param("weight", lambda: torch.randn(2, 3))
        bias = pyro.param("bias", torch.full((3,), 0.3), constraint=dist.constraints.unit_interval)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=z @ weight + bias).to_event(1), obs=x)

    def guide(x):
        pyro.module("net", net)
        scale = pyro.param("scale", torch.tensor(0.5), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(net(x), scale).to_event(1))

    return model, guide


class OfTwo(Pair):
    """A model of x and y, with a parameter that no module holds."""

    def model(self, x, y):
        super().model(x)
        with pyro.plate("labels", len(y), dim=-1):
            pyro.sample("y", dist.Normal(pyro.param("mean", torch.tensor(0.1)), 1.0), obs=y)

    def guide(self, x, y):
        super().guide(x)


def of_two():
    pair = OfTwo()
    return pair.model, pair.guide


torch.manual_seed(5)
X, Y = torch.rand(23, 3), torch.randn(23)


def eager(objective=None):
    return CompiledELBO(objective or Trace_ELBO(), backend="eager")


def drawn(x, y):
    return torch.bernoulli(x), y


def train(make, folder=None, *, epochs=4, on_step=None, data=X, **options):
    options = {"batch_transform": torch.bernoulli, "batch_size": 5, "validation": X[:7].round(), **options}
    return fit(*make(), data, epochs=epochs, progress=False, on_step=on_step, checkpoint=folder, **options)


def numbers(result):
    """The history without times, in words, so that nan equals nan."""
    return [str({k: v for k, v in entry.items() if "seconds" not in k}) for entry in result.history]


def assert_same(found, expected):
    assert numbers(found) == numbers(expected)
    assert found.state.keys() == expected.state.keys()
    assert all(torch.equal(found.state[name], expected.state[name]) for name in expected.state)
    about = ("best_epoch", "stopped_early", "warmed_up")
    assert [getattr(found, name) for name in about] == [getattr(expected, name) for name in about]


def killed_after(which, folder, make, **options):
    """What processes leave that are killed in the epoch after each of these: copied, while the training goes on."""
    whole = folder / "whole"

    def on_step(step, metrics):
        for epoch in which:
            if saved_epochs(whole)[-1:] == [epoch] and not (folder / f"{epoch}").exists():
                shutil.copytree(whole, folder / f"{epoch}")

    return train(make, Checkpoint(whole, minutes=0), on_step=on_step, **options)


SCHEDULES = {
    "cosine": lambda optimizer: CosineAnnealingLR(optimizer, 40),
    "milestones": lambda optimizer: MultiStepLR(optimizer, [4, 9], 0.5),
    "cycle": lambda optimizer: OneCycleLR(optimizer, 1e-2, total_steps=100),
}
CASES = {
    "plain": (module, {}),
    "recorded": (module, {"objective": eager}),
    "another objective": (module, {"objective": lambda: eager(TraceMeanField_ELBO()), "clip_norm": 5.0}),
    "momentum": (module, {"optimizer": lambda params: torch.optim.SGD(params, lr=1e-3, momentum=0.9)}),
    "decay": (module, {"objective": eager, "optimizer": adam(0.01, weight_decay=0.1)}),
    "functions": (functions, {}),
    "recorded functions": (functions, {"objective": eager}),
    "warm-up": (module, {"kl_weight": KLWarmup(epochs=2.5, weight=0.7)}),
    "patience": (module, {"patience": 1, "epochs": 30}),
    "no validation": (functions, {"validation": None, "batch_transform": None, "data": X.round()}),
    "one batch": (module, {"batch_size": 50, "objective": eager}),
    "shared batches": (module, {"batch_size": 11, "objective": eager}),
    "the global stream": (module, {"seed": None}),
    "two tensors": (
        of_two,
        {"data": (X, Y), "validation": (X[:7].round(), Y[:7]), "batch_transform": drawn, "objective": eager},
    ),
    **{name: (module, {"scheduler": schedule}) for name, schedule in SCHEDULES.items()},
    "recorded cycle": (module, {"scheduler": SCHEDULES["cycle"], "objective": eager}),
}


@pytest.mark.filterwarnings("ignore:The pair refuses the last batch")
@pytest.mark.parametrize("case", CASES)
def test_it_goes_on_to_the_same_bits(case, tmp_path, global_state):
    make, given = CASES[case]

    def options():
        return {**given, "objective": given.get("objective", Trace_ELBO)()}

    is_recorded = "objective" in given  # which takes a second each time
    expected = killed_after([1, 2], tmp_path, make, **options())
    assert not (tmp_path / "whole").exists()
    for left in ("2",) if is_recorded else ("1", "2"):
        before, at = global_state(), torch.get_rng_state()
        assert_same(train(make, tmp_path / left, **options()), expected)
        assert global_state() == before
        assert torch.equal(torch.get_rng_state(), at)  # also where the global stream is used: it goes on from there
        assert not saved_epochs(tmp_path / left)


RECORDED = ("VAE, VampPrior", "PyroModule, undecorated", "functions with pyro.param")


@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_does_so(name, tmp_path):
    """Plainly; recorded, where parameters live in different places."""
    runs = []
    objective = eager if name in RECORDED else Trace_ELBO
    for folder in (None, tmp_path):
        torch.manual_seed(3)
        pair = PAIRS[name]()

        def make(pair=pair):
            return pair.model, pair.guide

        options = {"data": pair.x[:16], "batch_transform": None, "validation": None, "batch_size": 8, "epochs": 3}
        if folder is not None:
            torch.manual_seed(3)
            first = PAIRS[name]()
            stopped(folder, lambda pair=first: (pair.model, pair.guide), steps=3, objective=objective(), **options)
        runs.append(train(make, folder, objective=objective(), **options))
    assert_same(*runs)


class Noisy(Dataset):
    """Draws a random number with each data point."""

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return (X[i] + 0.1 * torch.rand(3)).clamp(max=1.0)


def on_disk(folder):
    np.save(folder / "x.npy", X.numpy())
    return np.load(folder / "x.npy", mmap_mode="r")


def rows_of(rows):
    return torch.stack([row for (row,) in rows])


FORMS = {
    "on disk": on_disk,
    "data set": lambda _: Noisy(),
    "loader": lambda _: DataLoader(TensorDataset(X), batch_size=5, shuffle=True, collate_fn=rows_of),
}


@pytest.mark.parametrize("form", FORMS)
def test_data_that_are_read_in_batches_come_in_the_same_order(form, tmp_path):
    def options():
        return {"data": FORMS[form](tmp_path), "objective": eager()}

    expected = killed_after([2], tmp_path, module, **options())
    assert_same(train(module, tmp_path / "2", **options()), expected)


def test_a_loader_with_a_stream_of_its_own_is_refused(tmp_path):
    loader = DataLoader(X, batch_size=5, shuffle=True, generator=torch.Generator())
    with pytest.raises(ValueError, match="Expected data to draw from torch's global stream"):
        train(module, tmp_path, data=loader)
    assert len(train(module, data=loader, epochs=1).history) == 1


def test_without_a_checkpoint_it_is_the_same(tmp_path):
    assert_same(train(module, Checkpoint(tmp_path / "whole", minutes=0)), train(module))


def test_compiled_by_inductor_it_goes_on_to_the_same_bits(tmp_path):
    expected = killed_after([2], tmp_path, functions, compile=True, epochs=3)
    assert_same(train(functions, tmp_path / "2", compile="auto", epochs=3), expected)  # as it began


def stopped(folder, make=module, *, steps=15, error=KeyboardInterrupt, **options):
    """A training that an interrupt ends in the epoch after so many steps: the fourth one."""

    def on_step(step, metrics):
        if step > steps:
            raise error

    with pytest.raises(error):
        train(make, folder, on_step=on_step, **options)
    return folder


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupt_saves_the_last_whole_epoch(tmp_path, error):
    """However far away the next checkpoint would have been."""
    stopped(Checkpoint(tmp_path, math.inf), error=error)
    assert saved_epochs(tmp_path) == [3]
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-00000003.json", "checkpoint-00000003.safetensors"}
    assert_same(train(module, tmp_path), train(module))


def test_where_nothing_was_saved_nothing_is_left(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(module, tmp_path / "new", on_step=lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert not (tmp_path / "new").exists()
    with pytest.raises(ValueError, match="Expected minutes >= 0"):
        Checkpoint(tmp_path, minutes=-1)


def test_files_of_others_stay(tmp_path):
    theirs = {"notes.txt", "checkpoint-1.json", "checkpoint-00000001.txt", "weights.safetensors"}
    for name in theirs:
        (tmp_path / name).write_text(name)
    train(module, Checkpoint(tmp_path, minutes=0))
    assert {path.name for path in tmp_path.iterdir()} == theirs


def test_a_finished_training_that_is_kept_comes_back_and_goes_further(tmp_path):
    kept = train(module, Checkpoint(tmp_path, keep=True), epochs=2)
    seen = []
    assert_same(train(module, Checkpoint(tmp_path, keep=True), epochs=2, on_step=lambda *_: seen.append(1)), kept)
    assert not seen
    assert_same(train(module, Checkpoint(tmp_path, keep=True), epochs=4), train(module, epochs=4))
    with pytest.raises(ValueError, match="Expected epochs >= 4, which the checkpoint has; got 3"):
        train(module, tmp_path, epochs=3)


def test_how_often_and_how_many(tmp_path):
    seen = []

    def on_step(step, metrics):
        if "epoch" in metrics:
            seen.append(saved_epochs(tmp_path))

    train(module, Checkpoint(tmp_path, minutes=1e6, epochs=2, count=3, keep=True), epochs=7, on_step=on_step)
    assert seen == [[], [], [2], [2], [2, 4], [2, 4], [2, 4, 6]]
    assert saved_epochs(tmp_path) == [4, 6, 7]
    for wrong in ({"epochs": 0}, {"count": 0}, {"minutes": -1.0}):
        with pytest.raises(ValueError, match=f"Expected {next(iter(wrong))} >= "):
            Checkpoint(tmp_path, **wrong)


def test_a_training_that_a_callback_has_ended_is_over(tmp_path):
    def on_step(step, metrics):
        if step == 12:
            raise StopTraining

    kept = train(module, Checkpoint(tmp_path, keep=True), on_step=on_step)
    assert_same(train(module, Checkpoint(tmp_path, keep=True)), kept)


def constant(pair):
    """The same parameters, another computation."""
    pair.decode.forward = lambda z: (
        torch.zeros(*z.shape[:-1], 3) + 0 * (pair.decode.weight.sum() + pair.decode.bias.sum())
    )
    return pair


def another(change):
    def make():
        pair = change(Pair())
        return pair.model, pair.guide

    return make


def frozen(pair):
    pair.decode.weight.requires_grad_(False)
    return pair


def wider(pair):
    pair.out = nn.Sequential(nn.Linear(8, 9), nn.Linear(9, 4))
    return pair


@pytest.mark.parametrize(
    ("make", "options", "text"),
    [
        (module, {"batch_size": 6}, r"Expected batch_size as in the checkpoint, 5; got 6\. Go on with the same"),
        (module, {"kl_weight": 0.5}, r"kl_weight\.weight as in the checkpoint, 1\.0; got 0\.5"),
        (module, {"seed": 1}, "seed as in"),
        (module, {"objective": TraceMeanField_ELBO()}, "objective as in the checkpoint, Trace_ELBO; got TraceMean"),
        (module, {"objective": Trace_ELBO(num_particles=2)}, r"num_particles as in the checkpoint, 1; got 2"),
        (module, {"objective": eager()}, "backend as in the checkpoint, none; got eager"),
        (module, {"data": X.flip(0)}, r"data as in the checkpoint, torch.float32 \(23, 3\) with digest"),
        (module, {"validation": X[:8].round()}, "validation as in"),
        (module, {"batch_transform": torch.round}, "batch_transform as in the checkpoint, bernoulli; got round"),
        (module, {"optimizer": adam(0.1)}, r"groups\.0\.lr as in the checkpoint, 0\.001; got 0\.1"),
        (module, {"optimizer": torch.optim.Adagrad}, "types or shapes differ: optimizer"),
        (
            module,
            {"scheduler": lambda optimizer: ExponentialLR(optimizer, 0.9)},
            "scheduler as in the checkpoint, NoneType; got Exp",
        ),
        (another(wider), {}, r"names, types or shapes differ: .*out"),
        (another(frozen), {}, r"names, types or shapes differ: .*decode"),
        (another(Pair.double), {"data": X.double(), "validation": X[:7].round().double()}, "data as in"),
        (another(constant), {}, "Expected the validation ELBO of the checkpoint, .* model or guide compute something"),
    ],
)
def test_what_is_not_the_same_training_is_refused(tmp_path, make, options, text):
    stopped(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=text):
        train(make, tmp_path, **options)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_schedule_that_depends_on_the_epochs_is_not_gone_further_with(tmp_path):
    def decay(steps):
        return lambda optimizer: CosineAnnealingLR(optimizer, steps)

    train(module, Checkpoint(tmp_path, keep=True), epochs=2, scheduler=decay(10))
    with pytest.raises(ValueError, match="T_max as in the checkpoint, 10; got 20"):
        train(module, tmp_path, epochs=4, scheduler=decay(20))


def flipped(path):
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])


def shortened(path):
    path.write_bytes(path.read_bytes()[:-9])


def of_another_epoch(path):
    (other,) = set(path.parent.glob(f"checkpoint-*{path.suffix}")) - {path}
    path.write_bytes(other.read_bytes())


DAMAGE = [flipped, shortened, of_another_epoch, lambda path: path.write_bytes(b""), Path.unlink]


@pytest.mark.parametrize("kind", ["safetensors", "json"])
@pytest.mark.parametrize("damage", DAMAGE, ids=["flipped", "shortened", "of another epoch", "empty", "gone"])
def test_a_damaged_one_is_said_and_the_one_before_used(tmp_path, kind, damage):
    stopped(Checkpoint(tmp_path, 0))
    assert saved_epochs(tmp_path) == [2, 3]
    damage(tmp_path / f"checkpoint-00000003.{kind}")
    if kind == "json" and damage is Path.unlink:  # as after a kill between the two files
        found = train(module, tmp_path)
    else:
        with pytest.warns(RuntimeWarning, match=r"Expected .*checkpoint-00000003.*epoch 2 is used instead"):
            found = train(module, tmp_path)
    assert_same(found, train(module))


def test_without_a_whole_one_it_is_refused_with_what_is_wrong(tmp_path):
    flipped(stopped(tmp_path) / "checkpoint-00000003.safetensors")
    with pytest.raises(ValueError, match=r"checkpoint-00000003\.safetensors as it was written.*begin anew"):
        train(module, tmp_path)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_what_cannot_be_written_leaves_the_one_before_and_the_training(tmp_path, monkeypatch, code):
    def fails(_):
        raise OSError(code, os.strerror(code))

    def on_step(step, metrics):
        if step == 13:
            monkeypatch.setattr(os, "fsync", fails)

    with pytest.warns(RuntimeWarning, match=r"no new checkpoint, and the one before stays: Expected to write") as said:
        result = train(module, Checkpoint(tmp_path, 0, keep=True), on_step=on_step)
    assert os.strerror(code) in str(said[0].message)
    assert_same(result, train(module))
    assert saved_epochs(tmp_path) == [1, 2]
    assert len(read_newest(tmp_path)["state"]["history"]) == 2


def test_a_folder_that_vanishes_is_a_warning_and_one_that_cannot_be_an_error(tmp_path):
    def on_step(step, metrics):
        shutil.rmtree(tmp_path / "gone", ignore_errors=True)

    with pytest.warns(RuntimeWarning, match="Expected to write .*gone"):
        train(module, Checkpoint(tmp_path / "gone", 0), on_step=on_step)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Expected to write .*file"):
        train(module, tmp_path / "file")


def hold(path, ready, done):
    with locked(path, doing="training with it"):
        ready.set()
        done.wait(60)
        os._exit(1)  # as when it is killed: the lock is not given back


def test_a_second_process_is_refused_and_a_dead_one_is_not_waited_for(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path / ".checkpoint", ready, done))
    process.start()
    assert ready.wait(60)
    with pytest.raises(BlockingIOError, match=f"training with the checkpoint in .*; process {process.pid} on"):
        train(module, tmp_path)
    done.set()
    process.join()
    assert len(train(module, tmp_path).history) == 4


def test_other_threads_or_another_torch_are_said(tmp_path, monkeypatch):
    stopped(tmp_path)
    monkeypatch.setattr(torch, "__version__", "9.9")
    with pytest.warns(UserWarning, match=r"began with torch \d.* and goes on with 9\.9: its numbers can differ"):
        train(module, tmp_path)


class Counting(Pair):
    """Keeps in Python what a checkpoint cannot hold."""

    steps = 0

    def model(self, x):
        self.steps += 1
        super().model(x)


def test_what_a_pair_keeps_in_python_is_said(tmp_path):
    pair = Counting()
    with pytest.warns(UserWarning, match=r"changes Counting\.steps in Python.*Hold it in a buffer"):
        train(lambda: (pair.model, pair.guide), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(module, tmp_path)


def test_the_best_state_is_written_once():
    best = BestState(lambda: {"a": torch.zeros(2)}, 1.0, 0)
    best.update({"epoch": 1, "step": 3, "validation_rate": 1.0, "validation_distortion": 2.0})
    assert best.get_state(1)["state"] is None
    assert torch.equal(best.get_state(2)["state"]["a"], torch.zeros(2))


def test_events_of_tensorboard_hold_each_epoch_once(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    stopped(Checkpoint(tmp_path / "c", 0), tensorboard=tmp_path / "t")
    result = train(module, tmp_path / "c", tensorboard=tmp_path / "t")
    read = events.EventAccumulator(str(tmp_path / "t"))
    read.Reload()
    steps = [entry["step"] for entry in result.history]
    assert [event.step for event in read.Scalars("loss")] == steps
    rates = [tag for tag in read.Tags()["scalars"] if tag.startswith("rate_by_dimension/")]
    assert rates
    assert [event.step for event in read.Scalars(rates[0])] == steps


def test_its_numbers_are_plain_json(tmp_path):
    stopped(tmp_path)
    about = json.loads((tmp_path / "checkpoint-00000003.json").read_text())
    assert about["state"]["steps"] == 15
    assert len(about["state"]["history"]) == 3
    assert about["settings"]["batch_size"] == 5
