"""Run folders of somebody who knows how they are made: digests are right, and what they are of is not."""

import copy
import hashlib
import json
import re
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pyro_vae
from pyro_vae import LogMarginal
from pyro_vae.commands.main import main
from pyro_vae.disk.json_files import write_json
from pyro_vae.runs.allowance import at_most
from pyro_vae.runs.pretrained import model_card

# Derandomized, so that the suite tries the same inputs each time; experiments/robustness draws further ones.
TRIED = settings(
    max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
SMALL = ["--epochs", "1", "--latent-dim", "2", "--network", "MLP", "--network.hidden", "[8]"]
ODD = st.sampled_from(
    [None, True, -1, 0, 2**63, 10**400, 0.5, "", "x", "../../etc/passwd", "a" * 10_000, [], [[]], {}, {"a": [1]}]
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a class of the user's own, with an evaluation; the working directory is where it lies."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = np.random.default_rng(0).integers(0, 2, (40, 6)).astype(np.float32)
    np.save(folder / "rows.npy", rows)
    (folder / "hostile_likelihood.py").write_text(
        "from pyro_vae import Bernoulli\n\n\nclass Own(Bernoulli):\n    pass\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        options = ["--likelihood", "hostile_likelihood.Own", "--binarization", "none", "--data", "rows.npy"]
        main(["train", *SMALL, *options, "--out", "run"])
        main(["evaluate", "run", "--num-samples", "30"])
        yield folder / "run"
    sys.modules.pop("hostile_likelihood", None)


@pytest.fixture(scope="module")
def intact(trained):
    return {path.name: path.read_bytes() for path in trained.iterdir() if path.is_file()}


def restore(folder, intact):
    for name, content in intact.items():
        (folder / name).write_bytes(content)


def evaluation_of(folder):
    return next(folder.glob("evaluation_*.json")).with_suffix("")


def change(value, draw):
    """The value with one entry, at any depth, gone, renamed or another one."""
    if not (isinstance(value, dict | list) and value and draw(st.integers(0, 9))):
        return draw(ODD)
    value = copy.copy(value)
    place = draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
    deed = draw(st.sampled_from(["remove", "rename", "go on", "go on"]))
    if deed == "go on":
        value[place] = change(value[place], draw)
    else:
        gone = value.pop(place)
        if deed == "rename" and isinstance(value, dict):
            value[f"{place}x"] = gone
    return value


def seal(folder, changed):
    """Write run.json with the digests of the files that were changed."""
    about = json.loads((folder / "run.json").read_text())
    for name in changed:
        content = (folder / name).read_bytes()
        about["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    del about["sha256"]
    write_json(folder / "run.json", about, kind="run")


def read_or_refused(folder):
    """The run, its data and its evaluation, or why not: in a sentence, at once, none of it by the words of Python."""
    began = time.process_time()
    try:
        run = pyro_vae.load(folder)
        found = run, run.data, LogMarginal.load(evaluation_of(folder))
        assert repr(run)
        assert model_card(folder)
        assert repr(found[-1])
    except (ValueError, FileNotFoundError) as error:
        found = str(error)
    assert time.process_time() - began < 2.0
    assert not isinstance(found, str) or "Expected " in found or found.startswith("In "), found
    return found


@pytest.mark.parametrize("name", ["run.json", "settings.yaml", "evaluation.json"])
def test_changed_entries_are_refused_or_change_nothing_that_counts(trained, intact, name):
    @TRIED
    @given(st.data())
    def tried(data):
        restore(trained, intact)
        path = evaluation_of(trained).with_suffix(".json") if name == "evaluation.json" else trained / name
        text = path.read_text()
        content = change(yaml.safe_load(text) if name == "settings.yaml" else json.loads(text), data.draw)
        if name == "settings.yaml":
            path.write_text(yaml.safe_dump(content))
            seal(trained, [name])
        else:
            content = content if isinstance(content, dict) else {"content": content}
            content.pop("sha256", None)
            write_json(path, content, kind=content.get("kind", "nothing"))
        found = read_or_refused(trained)
        if not isinstance(found, str):
            assert torch.equal(found[0].module.encoder(found[1].test).mean, expected)

    restore(trained, intact)
    run, dataset, _ = read_or_refused(trained)
    expected = run.module.encoder(dataset.test).mean
    tried()
    restore(trained, intact)


TENSORS = {
    "a missing one": lambda t: dict(list(t.items())[1:]),
    "another name": lambda t: {f"{name}x": x for name, x in t.items()},
    "another shape": lambda t: {name: x[None] for name, x in t.items()},
    "another type": lambda t: {name: x.double() for name, x in t.items()},
    "NaN": lambda t: {name: torch.full_like(x, torch.nan) for name, x in t.items()},
    "infinite": lambda t: {name: torch.full_like(x, -torch.inf) for name, x in t.items()},
    "nothing": lambda _: {},
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("log_marginal_nats_per_data_point", "x"),
        ("standard_error_over_data_points", []),
        ("monte_carlo_error", 10**400),
        ("num_samples", []),
        ("num_samples", ["x", 3]),
        ("data_points_with_khat_above_0.7", {}),
        ("num_data_points", 10**400),
        ("sites", {"x": "y"}),
        ("inputs", [1]),
    ],
)
def test_evaluations_whose_entries_are_something_else_are_not_shown(trained, intact, name, value):
    restore(trained, intact)
    run, path = pyro_vae.load(trained), evaluation_of(trained).with_suffix(".json")
    assert "nats per data point; 30 samples" in repr(run)
    content = json.loads(path.read_text())
    del content["sha256"]
    write_json(path, {**content, name: value}, kind="LogMarginal")
    assert "samples" not in repr(run)
    assert "Not known: it was not evaluated." in model_card(trained)
    with pytest.raises(ValueError, match=f"Expected {name} in .* of another type"):
        LogMarginal.load(path.with_suffix(""))
    restore(trained, intact)


@pytest.mark.parametrize("kind", TENSORS)
def test_weights_that_are_none_of_the_model_are_refused(trained, intact, kind):
    path = trained / "weights.safetensors"
    path.write_bytes(safetensors.torch.save(TENSORS[kind](safetensors.torch.load(path.read_bytes()))))
    seal(trained, [path.name])
    found = read_or_refused(trained)
    restore(trained, intact)
    assert f"{path}" in found
    assert ("finite" if kind in ("NaN", "infinite") else "names, types or shapes differ") in found


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 16, (2**40).to_bytes(8, "little") + b"{}", b"\x02" + bytes(7) + b"[]"]
)
def test_tensors_that_are_no_file_of_them_are_a_sentence(trained, intact, content):
    (trained / "weights.safetensors").write_bytes(content)
    seal(trained, ["weights.safetensors"])
    found = read_or_refused(trained)
    restore(trained, intact)
    assert found.startswith(f"Expected tensors in {trained / 'weights.safetensors'}; got an error")


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/b", "..", "C:\\a", ".hidden", ""])
def test_no_file_outside_the_folder_belongs_to_a_run(trained, intact, name):
    about = json.loads(intact["run.json"])
    del about["sha256"]
    about["files"][name] = {"bytes": 3, "sha256": "0"}
    write_json(trained / "run.json", about, kind="run")
    found = read_or_refused(trained)
    restore(trained, intact)
    assert found.startswith(f"Expected size and digest of files in {trained / 'run.json'}; got")


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [("network", "hidden", [10**6, 10**6]), ("network", "hidden", [20_000] * 500), (None, "latent_dim", 10**9)],
)
def test_sizes_are_looked_at_before_memory_is_taken(trained, intact, part, key, value):
    content = yaml.safe_load(intact["settings.yaml"])
    (content if part is None else content[part].setdefault("init_args", {}))[key] = value
    (trained / "settings.yaml").write_text(yaml.safe_dump(content))
    seal(trained, ["settings.yaml"])
    found = read_or_refused(trained)
    restore(trained, intact)
    assert "Expected a model " in found
    assert "bytes of tensors; got settings that ask for more" in found


def test_all_ways_to_ask_for_sizes_are_counted():
    for make in (
        lambda: torch.empty(5000, 5000),
        lambda: torch.zeros((5000, 5000)),
        lambda: torch.ones(size=(5000, 5000)),
        lambda: torch.full((5000, 5000), 3.0),
        lambda: torch.rand([5000, 5000]),
        lambda: torch.randn(torch.Size([5000, 5000])),
        lambda: torch.eye(5000),
    ):
        with at_most(0, what="a small one"), pytest.raises(ValueError, match="Expected a small one, with at most 67,1"):
            make()
        with at_most(2**27, what="a large one"):
            make()


# Code


def test_a_class_is_imported_from_where_it_was_alone(trained, intact, tmp_path, monkeypatch):
    """A run that was made elsewhere may bring along the file of its class, as it was: that needs consent."""
    for name in ("hostile_likelihood.py", "rows.npy"):
        shutil.copy(trained.parent / name, tmp_path)
    shutil.copytree(trained, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(trained.parent))])
    monkeypatch.delitem(sys.modules, "hostile_likelihood", raising=False)
    there = re.escape(f"it was {trained.parent}/hostile_likelihood.py")
    here = re.escape(f"{tmp_path}/hostile_likelihood.py would be imported. Put it back")
    with pytest.raises(ValueError, match=f"when run was trained, and where it was; {there}, and now {here}.*--trust"):
        pyro_vae.load("run")
    Path("hostile_likelihood.py").unlink()
    with pytest.raises(ValueError, match=f"there is none of this name in .* PYTHONPATH; {there}"):
        pyro_vae.load("run")
    assert "hostile_likelihood" not in sys.modules
    assert len(pyro_vae.load("run", trust=True).data.test)


def test_a_class_without_a_copy_is_not_imported(trained, intact, monkeypatch):
    (trained.parent / "hostile_code.py").write_text("raise SystemExit('executed')\n")
    content = yaml.safe_load(intact["settings.yaml"])
    content["prior"] = {"class_path": "hostile_code.Prior"}
    (trained / "settings.yaml").write_text(yaml.safe_dump(content))
    seal(trained, ["settings.yaml"])
    found = read_or_refused(trained)
    restore(trained, intact)
    assert "Expected a copy of hostile_code, of which" in found
    assert "hostile_code" not in sys.modules


@pytest.mark.parametrize("kind", ["pickle", "torch.save"])
def test_pickles_in_place_of_weights_are_not_read(trained, intact, kind):
    marker = Path("executed")

    class Hostile:
        def __reduce__(self):
            return (Path.touch, (marker,))

    path = trained / "weights.safetensors"
    if kind == "pickle":
        import pickle

        path.write_bytes(pickle.dumps(Hostile()))
    else:
        torch.save(Hostile(), path)
    seal(trained, [path.name])
    found = read_or_refused(trained)
    restore(trained, intact)
    assert found.startswith(f"Expected tensors in {path}")
    assert not marker.exists()
