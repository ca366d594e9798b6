"""Run folders: nothing is overwritten unasked, what is saved is what is loaded, damage is said."""

import pytest
import torch

import pyro_vae
from pyro_vae import MLP, VAE, Bernoulli, GaussianEncoder, LogMarginal, VampPrior
from pyro_vae.evidence.files import read_json, write_json
from pyro_vae.runs.environment import environment
from pyro_vae.runs.evaluations import load_evaluation, save_evaluation
from pyro_vae.runs.folder import load_weights, new_folder, require_run, save_weights


@pytest.fixture
def result():
    error = torch.tensor([0.1, 0.2]).double()
    return LogMarginal(torch.tensor([-1.0, -2.5]).double(), error, error.new_ones(2), error / 2, torch.tensor([7, 7]))


def vamp_vae(seed=0):
    torch.manual_seed(seed)
    likelihood = Bernoulli((1, 4, 4), mean=torch.rand(1, 4, 4))
    encoder = GaussianEncoder((1, 4, 4), 3)
    return VAE(VampPrior(encoder, torch.rand(5, 1, 4, 4)), encoder, MLP(3, likelihood.feature_shape), likelihood)


def test_new_folder_is_made_with_its_parents(tmp_path):
    assert new_folder(tmp_path / "a" / "b").is_dir()


def test_new_folder_refuses_a_run_unless_told(tmp_path):
    (tmp_path / "settings.yaml").write_text("epochs: 1")
    with pytest.raises(FileExistsError, match="holds some already"):
        new_folder(tmp_path)
    assert list(new_folder(tmp_path, overwrite=True).iterdir()) == []


def test_new_folder_never_removes_what_is_not_a_run(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="Choose another"):
        new_folder(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


def test_new_folder_says_when_it_cannot_write(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match="Expected a folder that can be written"):
        new_folder(tmp_path / "file" / "run")


def test_require_run_names_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no settings\.yaml"):
        require_run(tmp_path)


def test_weights_round_trip_with_a_shared_encoder(tmp_path):
    saved, loaded = vamp_vae(0), vamp_vae(1)
    save_weights(tmp_path, saved)
    load_weights(tmp_path, loaded)
    assert loaded.prior.encoder is loaded.encoder
    for name, value in saved.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name


def test_weights_of_another_model_are_refused(tmp_path):
    save_weights(tmp_path, vamp_vae())
    with pytest.raises(ValueError, match="Expected weights of this model"):
        load_weights(tmp_path, MLP(3, 4))


def test_truncated_weights_are_refused(tmp_path):
    save_weights(tmp_path, vamp_vae())
    path = tmp_path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="Expected weights of this model"):
        load_weights(tmp_path, vamp_vae())


def test_evaluation_round_trip(tmp_path, result):
    save_evaluation(tmp_path, result, images=torch.rand(2, 3), about={"protocol": "two numbers"})
    loaded, about = load_evaluation(tmp_path)
    assert torch.equal(loaded.log_prob, result.log_prob)
    assert torch.equal(loaded.standard_error, result.standard_error)
    assert (loaded.num_samples == 7).all()
    assert about["num_samples"] == 7
    assert about["protocol"] == "two numbers"
    assert about["log_marginal_nats_per_data_point"] == result.mean.value == -1.75


def test_evaluation_tells_images_apart(tmp_path, result):
    digests = set()
    for images in (torch.zeros(2, 3), torch.ones(2, 3)):
        save_evaluation(tmp_path, result, images=images, about={})
        digests.add(load_evaluation(tmp_path)[1]["images_sha256"])
    assert len(digests) == 2


def test_what_is_not_finite_becomes_null(tmp_path):
    write_json(tmp_path / "a.json", {"error": float("nan"), "list": [1.0, float("inf")]})
    assert read_json(tmp_path / "a.json") == {"error": None, "list": [1.0, None]}


@pytest.mark.parametrize("name", ["evaluation.npz", "evaluation.json"])
def test_damaged_evaluation_is_said(tmp_path, result, name):
    save_evaluation(tmp_path, result, images=torch.zeros(2), about={})
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:20])
    with pytest.raises(ValueError, match=f"Expected .*{name}"):
        load_evaluation(tmp_path)


def test_missing_evaluation_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="Run: pyro-vae evaluate"):
        load_evaluation(tmp_path)


def test_environment_names_versions_and_date():
    about = environment(torch.device("cpu"))
    assert about["versions"]["pyro-vae"] == pyro_vae.__version__
    assert about["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert about["date"].endswith("UTC")
    assert about["device"]
