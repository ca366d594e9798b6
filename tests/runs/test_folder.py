"""Run folders: nothing of others is removed, results go when better ones are whole, damage is noticed."""

import fnmatch
import json
import os
import shutil

import pytest
import safetensors.torch
import torch

import pyro_vae
from pyro_vae import MLP, VAE, Bernoulli, GaussianEncoder, LogMarginal, VampPrior
from pyro_vae.disk.json_files import write_json
from pyro_vae.runs import new_folder
from pyro_vae.runs.environment import environment
from pyro_vae.runs.evaluations import evaluation_name, evaluations_of, load_evaluation, save_evaluation
from pyro_vae.runs.folder import is_finished, load_weights, require_run, reserve_space, save_weights, write_about
from pyro_vae.runs.new_folder import EVALUATION, NAMES, claimed, new_run


@pytest.fixture
def result():
    error = torch.tensor([0.1, 0.2]).double()
    return LogMarginal(torch.tensor([-1.0, -2.5]).double(), error, error.new_ones(2), error / 2, torch.tensor([7, 7]))


def vamp_vae(seed=0):
    torch.manual_seed(seed)
    likelihood = Bernoulli((1, 4, 4), mean=torch.rand(1, 4, 4))
    encoder = GaussianEncoder((1, 4, 4), 3)
    return VAE(VampPrior(encoder, torch.rand(5, 1, 4, 4)), encoder, MLP(3, likelihood.feature_shape), likelihood)


def fill(folder, text="epochs: 1\n", module=None, finished=True):
    """What a training writes, in the same order."""
    (folder / "settings.yaml").write_text(text)
    save_weights(folder, module or MLP(2, 3))
    write_about(folder, {"finished": finished, "data_sha256": "0"})


def make_run(folder, text="epochs: 1\n", module=None, *, finished=True, **how):
    with new_run(folder, **how) as unfinished:
        fill(unfinished, text, module, finished)
    return folder


def begin(folder, kind="run", *, weights=False, error=None, **how):
    """A training, or a comparison, that ends without results."""
    with new_run(folder, **how) if kind == "run" else claimed(folder, kind, **how) as unfinished:
        (unfinished / "settings.yaml").write_text("epochs: 9")
        reserve_space(unfinished, MLP(2, 3))
        if weights:
            save_weights(unfinished, MLP(2, 3))
        if error is not None:
            raise error


def content(folder):
    """All files below a folder, the lock aside."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if (path.is_symlink() or path.is_file()) and path.suffix != ".lock"
    }


# Making one


def test_a_run_appears_with_its_parents_when_it_is_whole(tmp_path):
    with new_run(tmp_path / "a" / "b") as unfinished:
        fill(unfinished)
        assert not (tmp_path / "a" / "b" / "run.json").exists()
    assert content(tmp_path / "a" / "b").keys() == {"README.txt", "settings.yaml", "weights.safetensors", "run.json"}
    assert require_run(tmp_path / "a" / "b")
    assert is_finished(tmp_path / "a" / "b")


def test_the_readme_of_a_run_says_what_its_files_are(tmp_path):
    folder = make_run(tmp_path / "run")
    readme = (folder / "README.txt").read_text()
    assert readme.startswith("This folder holds a run of pyro-vae, format 1.\n")
    rows = [line.split()[0] for line in readme.split("=\n")[1].splitlines()]
    for name in (*NAMES, *content(folder), "unfinished/", ".run.lock", ".evaluation.holder"):
        assert any(fnmatch.fnmatch(name, row.rstrip(",")) for line in rows for row in (line, ".*.holder")), name


def test_a_run_without_one_epoch_leaves_what_was_there(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        with pytest.raises(KeyboardInterrupt):
            begin(tmp_path / name, error=KeyboardInterrupt())
    assert not (tmp_path / "new").exists()
    before = content(make_run(tmp_path / "old"))
    with pytest.raises(ValueError, match="a prior that does not fit"):
        begin(tmp_path / "old", overwrite=True, error=ValueError("a prior that does not fit"))
    assert content(tmp_path / "old") == before


def test_results_are_replaced_when_asked_and_with_them_all_that_belongs_to_them(tmp_path):
    folder = make_run(tmp_path / "run")
    evaluation = "evaluation_auto_1000x9of30__seed-1"
    theirs = {f"{evaluation}.json", f"{evaluation}_khat.png", "samples.png", "tensorboard/events.out.tfevents.1.a.2"}
    foreign = {"notes.txt", "evaluation_of_mine.json", "figures/samples.png", "tensorboard/notes.txt"}
    for name in theirs | foreign:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    with pytest.raises(FileExistsError, match="holds some already"):
        begin(folder)
    assert theirs | foreign <= content(folder).keys()
    with new_run(folder, overwrite=True) as unfinished:
        fill(unfinished, "epochs: 2\n")
        assert theirs <= content(folder).keys()
    after = content(folder)
    assert after.keys() == foreign | {"README.txt", "settings.yaml", "weights.safetensors", "run.json"}
    assert after["settings.yaml"] == b"epochs: 2\n"
    assert all(after[name] == name.encode() for name in foreign)


def test_a_killed_training_is_in_nobodys_way_and_a_whole_one_is_kept(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as killed:
        killed.setattr(new_folder, "_publish", lambda _: None)
        begin(folder, weights=True)
        (folder / "unfinished" / f".{'0' * 16}.part").write_text("half a f")
        make_run(tmp_path / "whole")
    make_run(folder)
    with pytest.raises(FileExistsError, match="holds some already"):
        begin(tmp_path / "whole")
    for each in (folder, tmp_path / "whole"):
        assert require_run(each)
        assert content(each).keys() == {"README.txt", "settings.yaml", "weights.safetensors", "run.json"}


def test_a_stopped_training_replaces_no_run_and_is_kept_beside_it(tmp_path):
    stopped = make_run(tmp_path / "new", finished=False)
    assert require_run(stopped)
    assert not is_finished(stopped)
    before = content(make_run(tmp_path / "old"))
    make_run(tmp_path / "old", "epochs: 2\n", finished=False, overwrite=True)
    after = content(tmp_path / "old")
    assert before.items() <= after.items()
    assert require_run(tmp_path / "old" / "unfinished")
    assert after["unfinished/settings.yaml"] == b"epochs: 2\n"
    make_run(tmp_path / "old", "epochs: 3\n", overwrite=True)
    assert content(tmp_path / "old").keys() == before.keys()


def test_weights_without_room_for_the_rest_are_kept(tmp_path):
    with pytest.raises(OSError, match="No space"):
        begin(tmp_path / "run", weights=True, error=OSError(28, "No space left on device"))
    assert (tmp_path / "run" / "unfinished" / "weights.safetensors").exists()


def test_the_space_for_weights_is_taken_before(tmp_path):
    module = MLP(20, 30)
    reserve_space(tmp_path, module)
    assert (tmp_path / "reserved").stat().st_size > sum(p.numel() * 4 for p in module.parameters())
    save_weights(tmp_path, module)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def foreign_settings(folder):
    (folder / "settings.yaml").write_text("of another tool")


def foreign_readme(folder):
    (folder / "README.txt").write_text("My thesis\n")


def a_comparison(folder):
    with claimed(folder, "comparison", overwrite=False):
        write_json(folder / "comparison.json", {}, kind="comparison")


def a_link_among_its_files(folder):
    make_run(folder)
    (folder / "run.json").rename(folder / "elsewhere")
    (folder / "run.json").symlink_to("elsewhere")


def a_link_for_unfinished(folder):
    make_run(folder)
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "settings.yaml").write_text("of others")
    (folder / "unfinished").symlink_to("elsewhere")


def a_link_for_scalars(folder):
    make_run(folder)
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "events.out.tfevents.1.host.2").write_text("of others")
    (folder / "tensorboard").symlink_to("elsewhere")


def a_folder_among_its_files(folder):
    make_run(folder)
    (folder / "samples.png").mkdir()
    (folder / "samples.png" / "mine.png").write_text("mine")


@pytest.mark.parametrize(
    "fill_it",
    [
        foreign_settings,
        foreign_readme,
        a_comparison,
        a_link_among_its_files,
        a_link_for_unfinished,
        a_link_for_scalars,
        a_folder_among_its_files,
    ],
)
def test_what_is_not_of_the_program_stays_whatever_is_asked(tmp_path, fill_it):
    folder = tmp_path / "folder"
    folder.mkdir()
    fill_it(folder)
    before = content(folder)
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=r"(hoose another|Move it away)"):
            begin(folder, overwrite=overwrite)
        assert content(folder) == before


def test_a_home_a_parent_a_link_and_a_file_stay(tmp_path, monkeypatch):
    folder = make_run(tmp_path / "work" / "run")
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "file").write_text("mine")
    before = content(tmp_path)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    for out in ("..", "../..", "/", os.path.expanduser("~"), tmp_path / "link", tmp_path / "file"):
        with pytest.raises(FileExistsError, match="Expected a"):
            begin(out, overwrite=True)
    assert content(tmp_path) == before
    make_run(".", "epochs: 2\n", overwrite=True)  # the run itself, from inside
    assert require_run(folder)


def test_runs_inside_a_comparison_stay_when_it_is_replaced(tmp_path):
    with claimed(tmp_path / "c", "comparison", overwrite=False) as folder:
        make_run(folder / "runs" / "a")
        write_json(folder / "comparison.json", {}, kind="comparison")
    before = content(tmp_path / "c" / "runs")
    with pytest.raises(FileExistsError, match="holds some already"):
        begin(folder, "comparison", overwrite=False)
    with claimed(folder, "comparison", overwrite=True):
        pass
    assert content(tmp_path / "c" / "runs") == before


def test_two_trainings_do_not_share_a_folder(tmp_path):
    with new_run(tmp_path / "run") as unfinished:
        for epoch in (None, 3):
            if epoch:  # what it leaves on the way is not that of a training that was stopped
                (unfinished / f"checkpoint-{epoch:08}.json").write_text("{}")
            with pytest.raises(BlockingIOError, match="Expected no other process writing the run in"):
                begin(tmp_path / "run")
        fill(unfinished)
    assert require_run(tmp_path / "run")


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("file/run", "a" * 300):
        with pytest.raises(OSError, match=r"Expected to write .*; got an error: "):
            begin(tmp_path / name)


# Reading one


def test_require_run_names_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no settings\.yaml"):
        require_run(tmp_path)


@pytest.mark.parametrize("columns", [["a", 1], "ab", ["a", "b"]])
def test_columns_of_a_run_are_names(tmp_path, columns):
    run = make_run(tmp_path / "run")
    about = json.loads((run / "run.json").read_text())
    write_json(run / "run.json", {k: v for k, v in about.items() if k != "sha256"} | {"columns": columns}, kind="run")
    with pytest.raises(ValueError, match=r"Expected (names of the columns of x|columns) in .*; got "):
        require_run(run)


def test_every_file_of_tensors_belongs_to_a_run(tmp_path):
    with new_run(tmp_path / "run") as unfinished:
        (unfinished / "weights_of_more.safetensors").write_bytes(b"more")
        fill(unfinished)
        (unfinished / "weights_of_more.safetensors").rename(tmp_path / "taken away")
    with pytest.raises(FileNotFoundError, match=r"run has no weights_of_more\.safetensors"):
        require_run(tmp_path / "run")


def test_a_run_without_its_weights_is_a_run_all_the_same(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "weights.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"whole run; .*run has no weights\.safetensors, .* Put the file back"):
        require_run(run)


def set_other_settings(folder):
    shutil.copy(make_run(folder.parent / "other", "epochs: 7\n") / "settings.yaml", folder)


def set_other_run_json(folder):
    shutil.copy(make_run(folder.parent / "other", "epochs: 7\n") / "run.json", folder)


def set_json_of_another_kind(folder):
    write_json(folder / "run.json", {"finished": True}, kind="comparison")


def set_a_pipe(folder):
    (folder / "settings.yaml").unlink()
    os.mkfifo(folder / "settings.yaml")


@pytest.mark.parametrize("change", [set_other_settings, set_other_run_json, set_json_of_another_kind, set_a_pipe])
def test_files_that_do_not_belong_together_are_refused(tmp_path, change):
    folder = make_run(tmp_path / "run")
    change(folder)
    with pytest.raises(ValueError, match=r"Expected .*(settings\.yaml|run\.json)"):
        require_run(folder)
    assert not is_finished(folder)


def test_weights_round_trip_with_a_shared_encoder(tmp_path):
    saved, loaded = vamp_vae(0), vamp_vae(1)
    load_weights(make_run(tmp_path / "run", module=saved), loaded)
    assert loaded.prior.encoder is loaded.encoder
    for name, value in saved.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    once = sum(p.numel() * p.element_size() for p in [*saved.parameters(), *saved.buffers()])
    assert once < (tmp_path / "run" / "weights.safetensors").stat().st_size < once + 10_000


def test_weights_of_another_model_are_refused(tmp_path):
    folder = make_run(tmp_path / "run", module=vamp_vae())
    for other in (MLP(3, 4), vamp_vae().double()):
        with pytest.raises(ValueError, match="Expected weights of this model"):
            load_weights(folder, other)


def test_damaged_weights_are_refused(tmp_path):
    """Shortened, one bit turned over, of another type, of another seed."""
    module = vamp_vae()
    path = make_run(tmp_path / "run", module=module) / "weights.safetensors"
    whole, half = path.read_bytes(), {name: value.half() for name, value in module.state_dict().items()}
    other = make_run(tmp_path / "other", module=vamp_vae(1)) / path.name
    flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in (3, len(whole) // 2, len(whole) - 1)]
    half = {name: value.clone() for name, value in half.items()}
    for content in [whole[:-10], b"", *flipped, safetensors.torch.save(half), other.read_bytes()]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"Expected .*weights\.safetensors as the training wrote it"):
            load_weights(path.parent, vamp_vae())
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match=r"Expected .*weights\.safetensors as the training wrote it"):
        load_weights(path.parent, vamp_vae())


# Evaluations

NAME = "evaluation_auto_7x2"


def test_evaluations_are_found_by_what_they_are(tmp_path, result):
    folder = make_run(tmp_path / "run")
    names = ["evaluation_auto_7x2", "evaluation_guide_5000x2of9__seed-1__widen-1.1"]
    assert names[1] == evaluation_name("guide", 5000, 2, of=9, others={"seed": 1, "widen": 1.1})
    larger = LogMarginal.join([result, result])
    save_evaluation(folder, larger, names[0], x=torch.rand(4, 3), about={"protocol": "two numbers"})
    save_evaluation(folder, result, names[1], x=torch.rand(2, 3), about={"protocol": "two numbers"})
    assert [*evaluations_of(folder)] == names[::-1]  # the larger one last
    (folder / f"{names[0]}.json").write_text("{}")
    assert [*evaluations_of(folder)] == names[1:]
    assert all(EVALUATION.fullmatch(f"{name}{end}") for name in names for end in (".json", ".npz", ".png", "_khat.png"))
    for other in ("evaluation_mine.json", "evaluation_auto_7x2.txt", "my_evaluation_auto_7x2.json"):
        assert not EVALUATION.fullmatch(other)


def test_evaluation_round_trip(tmp_path, result):
    folder = make_run(tmp_path / "run")
    save_evaluation(folder, result, NAME, x=torch.rand(2, 3), about={"protocol": "two numbers"})
    loaded, about = load_evaluation(folder, NAME)
    assert torch.equal(loaded.log_prob, result.log_prob)
    assert torch.equal(loaded.standard_error, result.standard_error)
    assert (loaded.num_samples == 7).all()
    assert about["num_samples"] == 7
    assert about["protocol"] == "two numbers"
    assert about["log_marginal_nats_per_data_point"] == result.mean.value == -1.75


def test_evaluation_tells_images_apart(tmp_path, result):
    folder, digests = make_run(tmp_path / "run"), set()
    for images in (torch.zeros(2, 3), torch.ones(2, 3)):
        save_evaluation(folder, result, NAME, x=images, about={})
        digests.add(load_evaluation(folder, NAME)[1]["images_sha256"])
    assert len(digests) == 2


@pytest.mark.parametrize("name", [f"{NAME}.npz", f"{NAME}.json"])
def test_damaged_evaluation_is_said(tmp_path, result, name):
    folder = make_run(tmp_path / "run")
    save_evaluation(folder, result, NAME, x=torch.zeros(2), about={})
    (folder / name).write_bytes((folder / name).read_bytes()[:20])
    with pytest.raises(ValueError, match=f"Expected .*{name}.* Run: pyro-vae evaluate"):
        load_evaluation(folder, NAME)


def test_an_evaluation_of_other_weights_is_refused(tmp_path, result):
    folder = make_run(tmp_path / "run")
    save_evaluation(folder, result, NAME, x=torch.zeros(2), about={})
    other = make_run(tmp_path / "other")
    for suffix in ("json", "npz"):
        shutil.copy(folder / f"{NAME}.{suffix}", other)
    with pytest.raises(
        ValueError, match=r"Expected an evaluation of the weights in .*other; .* is one of other weights"
    ):
        load_evaluation(other, NAME)


def test_figures_of_the_evaluation_before_go(tmp_path, result):
    folder = make_run(tmp_path / "run")
    other = "evaluation_annealed_32x2.png"
    for name in (f"{NAME}_khat.png", other, "samples.png"):
        (folder / name).write_text("old")
    save_evaluation(folder, result, NAME, x=torch.zeros(2), about={})
    assert {path.name for path in folder.glob("*.png")} == {other, "samples.png"}
    (folder / f"{NAME}.png").symlink_to("samples.png")
    with pytest.raises(FileExistsError, match=rf"{NAME}\.png; got a symbolic link"):
        save_evaluation(folder, result, NAME, x=torch.zeros(2), about={})


def test_missing_evaluation_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="Run: pyro-vae evaluate"):
        load_evaluation(tmp_path, NAME)


def test_environment_names_versions_and_date():
    about = environment(torch.device("cpu"))
    assert about["versions"]["pyro-vae"] == pyro_vae.__version__
    assert about["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert about["date"].endswith("UTC")
    assert about["device"]
    assert json.dumps(about)
