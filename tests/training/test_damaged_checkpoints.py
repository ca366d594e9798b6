"""Checkpoints that are damaged anywhere are told, and those before them used; what is forged does not go on."""

import hashlib
import json
import shutil

import pytest
import safetensors.torch
import torch
from test_checkpoint import assert_same, module, stopped, train

from pyro_vae.disk.json_files import write_json
from pyro_vae.training.checkpoint_files import read_newest, saved_epochs

NEWEST = "checkpoint-00000003"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Of a training that was stopped: its checkpoints after the second and the third epoch."""
    from pyro_vae import Checkpoint

    return stopped(Checkpoint(tmp_path_factory.mktemp("saved"), 0)).folder


@pytest.fixture
def folder(saved, tmp_path):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    return tmp_path


def require_the_one_before(folder):
    with pytest.warns(RuntimeWarning, match=rf"Expected .*{NEWEST}.*That after epoch 2 is used instead"):
        found = read_newest(folder)
    assert len(found["state"]["history"]) == 2


@pytest.mark.parametrize("kind", ["json", "safetensors"])
def test_damage_in_each_region_and_at_each_kilobyte_is_told(folder, kind):
    path = folder / f"{NEWEST}.{kind}"
    whole, intact = path.read_bytes(), read_newest(folder)
    for at in range(0, len(whole), 512):
        path.write_bytes(whole[:at])
        require_the_one_before(folder)
        flipped = whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]
        path.write_bytes(flipped)
        if kind == "safetensors" or as_json(flipped) != as_json(whole):
            require_the_one_before(folder)
    path.write_bytes(whole)
    assert len(read_newest(folder)["state"]["history"]) == len(intact["state"]["history"]) == 3


def as_json(content):
    try:
        return json.loads(content)
    except ValueError:
        return None


def forge(folder, *, tensors=None, about=None):
    """Change a checkpoint, and make its digests anew."""
    path, content = folder / f"{NEWEST}.safetensors", json.loads((folder / f"{NEWEST}.json").read_text())
    del content["sha256"]
    if tensors is not None:
        path.write_bytes(safetensors.torch.save(tensors(safetensors.torch.load(path.read_bytes()))))
    content["bytes"] = path.stat().st_size
    content["tensors_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    if about is not None:
        about(content)
    write_json(folder / f"{NEWEST}.json", content, kind="checkpoint")


TENSORS = {
    "a missing one": (lambda t: dict(list(t.items())[1:]), None),
    "other names": (lambda t: {f"{name}x": x for name, x in t.items()}, None),
    "another shape": (lambda t: {name: x[..., None] for name, x in t.items()}, None),
    "another type": (
        lambda t: {name: x.double() if x.is_floating_point() else x for name, x in t.items()},
        r"tensors of the checkpoint; names, types or shapes differ",
    ),
    "NaN": (
        lambda t: {name: x * (torch.nan if x.is_floating_point() else 1) for name, x in t.items()},
        rf"Expected finite parameters in the checkpoint.*Remove {NEWEST}\.json to go on from the one before",
    ),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_that_are_not_those_of_the_training_are_refused(folder, kind):
    tensors, refusal = TENSORS[kind]
    forge(folder, tensors=tensors)
    if refusal is None:
        require_the_one_before(folder)
        return
    with pytest.raises(ValueError, match=refusal):
        train(module, folder)
    (folder / f"{NEWEST}.json").unlink()
    assert_same(train(module, folder), train(module))


def without(*keys):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def with_another(value, *keys):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


@pytest.mark.parametrize("key", ["state", "settings", "bytes", "tensors_sha256"])
@pytest.mark.parametrize("change", [without, lambda key: with_another([7], key), lambda key: with_another(None, key)])
def test_entries_that_are_missing_or_of_another_type_are_told(folder, key, change):
    forge(folder, about=change(key))
    require_the_one_before(folder)


@pytest.mark.parametrize("key", ["history", "steps", "best", "pair", "optimizer", "random", "made"])
@pytest.mark.parametrize("value", [None, "x", [[]], {"$tensor": "x", "strides": []}, {"$array": 3, "dtype": "O"}])
def test_states_of_another_form_are_told(folder, key, value):
    forge(folder, about=with_another(value, "state", key))
    require_the_one_before(folder)


@pytest.mark.parametrize(
    "change",
    [
        without("state", "random", "torch"),
        with_another("x", "state", "random", "torch"),
        without("state", "optimizer", "groups"),
        with_another([3], "state", "optimizer", "groups"),
        without("state", "best", "epoch"),
    ],
)
def test_what_is_wrong_deep_inside_is_a_sentence(folder, change):
    forge(folder, about=change)
    with pytest.raises(ValueError, match=rf"Expected the checkpoint to hold the state.*Remove {NEWEST}\.json"):
        train(module, folder)
    assert saved_epochs(folder) == [2, 3]
