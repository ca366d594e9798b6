"""Settings from words and files: options come first, and nothing in a file is called or believed unchecked."""

import os
import sys

import pyro.infer
import pytest
import yaml
from torch import nn

from pyro_vae.runs.loading import build_model
from pyro_vae.runs.parser import Parser
from pyro_vae.runs.settings import DEFAULT_PARTS, dump, layer_of, parse_training, read_settings, settings_of


class OwnPrior(nn.Module):
    def __init__(self, dim, spread: float, names: list[str] | None = None):
        super().__init__()

    def forward(self): ...


class Bare(nn.Module):
    def __init__(self, dim, anything):
        super().__init__()

    def forward(self): ...


class Powered(pyro.infer.Trace_ELBO):
    """An objective with an option that has no default.

    Args:
        power: of the weights.
    """

    def __init__(self, power: float, num_particles: int = 1):
        super().__init__(num_particles=num_particles)


class OwnModel(nn.Module):
    def __init__(self, event_shape, latent_dim): ...

    def model(self, x): ...

    def guide(self, x): ...


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


def parse(*arguments):
    return parse_training(Parser(), arguments, out="")


@pytest.fixture
def file(tmp_path):
    """Settings of a run with options of every kind."""
    path = tmp_path / "settings.yaml"
    path.write_text(dump(parse("--prior", "VampPrior", "--prior.num_components", "7", "--network", "MLP")))
    return path


def change(file, *keys, value):
    content = yaml.safe_load(file.read_text())
    *path, last = keys
    inner = content
    for key in path:
        inner = inner[key]
    inner[last] = value
    file.write_text(yaml.safe_dump(content))


def refusals(file):
    """The messages for the file as that of a run and as a file to start from."""
    for read in (read_settings, lambda path: parse("--config", str(path))):
        with pytest.raises(ValueError) as refused:  # noqa: PT011
            read(file)
        assert file.name in str(refused.value)
        yield str(refused.value)


# What comes first


@pytest.mark.parametrize("order", [1, -1])
def test_options_override_the_file_wherever_they_stand(file, order):
    words = [["--config", str(file)], ["--epochs", "2"], ["--prior.num_components=9"], ["--network.hidden", "[4]"]]
    config = parse(*[word for pair in words[::order] for word in pair])
    assert config.epochs == 2
    assert vars(config.prior.init_args)["num_components"] == 9
    assert config.network.init_args.hidden == [4]
    assert config.prior.class_path == "VampPrior"


def test_another_class_drops_the_options_of_the_one_in_the_file(file):
    config = parse("--prior", "GaussianMixture", "--config", str(file))
    assert config.prior.class_path == "GaussianMixture"
    assert config.prior.init_args.num_components == 10
    same = parse("--prior", "pyro_vae.priors.VampPrior", "--config", str(file))
    assert same.prior.init_args.num_components == 7


def test_another_model_drops_the_parts_of_the_one_in_the_file(file):
    config = parse("--model", f"{__name__}.OwnModel", "--config", str(file), "--epochs", "4")
    assert (config.model.class_path, config.epochs) == (f"{__name__}.OwnModel", 4)
    assert "prior" not in config
    assert dump(config).count("class_path") == 2  # that of the objective is the other


def test_what_is_written_is_what_is_read(file):
    config = read_settings(file)
    assert dump(config) == file.read_text()
    assert dump(settings_of(layer_of(config), given=[])) == file.read_text()
    content = yaml.safe_load(file.read_text())
    assert content["prior"]["class_path"] == "VampPrior"
    assert content["encoder"] == {"class_path": "GaussianEncoder"}
    assert {"config", "out", "overwrite"}.isdisjoint(content)


def test_a_file_to_start_from_need_not_say_everything(tmp_path):
    (tmp_path / "c.yaml").write_text(f"epochs: 3\nprior:\n  class_path: {__name__}.OwnPrior\n")
    config = parse("--prior.spread", "2", "--config", "c.yaml")
    assert (config.epochs, config.prior.init_args.spread) == (3, 2.0)
    with pytest.raises(ValueError, match=r"Expected --prior\.spread; got nothing for it"):
        parse("--config", "c.yaml")


# What there is not


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", f"{__name__}.OwnModel", "--prior", "VampPrior"], "Expected no prior with the model .*OwnModel"),
        (["--model", f"{__name__}.OwnModel", "--prior.num_components", "3"], "unknown option --prior.num_components 3"),
        (["--prior"], "Expected --prior to be one of .*; got ''"),
        (["--config"], "Expected a settings file in YAML"),
        (["--pior", "LARS"], r"unknown option --pior LARS\. Did you mean --prior\?"),
        (["--epochs", "0"], "Expected --epochs > 0; got 0"),
        (["--learning-rate", ".inf"], "Expected --learning-rate > 0; got inf"),
        (["--learning-rate", "nan"], "Expected --learning-rate to be a number; got nan"),
        (["--patience", "0"], "Expected --patience > 0; got 0"),
        (["--batch-size", "0"], "Expected --batch-size > 0; got 0"),
        (["--objective", f"{__name__}.Powered"], r"Expected --objective\.power; got nothing for it"),
        (["--prior", f"{__name__}.Bare"], r"Expected --prior\.anything; got nothing for it"),
        (["--objective", f"{__name__}.OwnModel"], "derives from pyro's ELBO; .*OwnModel"),
        (["--objective.max_plate_nesting", "3"], "The class chosen by --objective takes --objective.num_particles"),
        (["--prior", f"{__name__}.OwnPrior", "--prior.spread", "wide"], r"--prior\.spread to be a number; got wide"),
    ],
)
def test_what_there_is_not_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        parse(*arguments)


def test_an_objective_is_a_part_with_options():
    config = parse("--objective", f"{__name__}.Powered", "--objective.power", "2", "--objective.num_particles", "3")
    assert vars(config.objective.init_args) == {"power": 2.0, "num_particles": 3}
    assert parse("--objective", "RenyiELBO").objective.init_args.alpha == 0
    assert parse("--objective", "RenyiELBO", "--objective.alpha", "0.5").objective.init_args.alpha == 0.5


# What a file may not do


@pytest.mark.parametrize("name", ["subprocess.Popen", "os.abort", "antigravity.Any", "os.path.join"])
@pytest.mark.parametrize("part", [*DEFAULT_PARTS])
def test_nothing_is_imported_or_called_that_is_no_part(file, name, part):
    change(file, part, "class_path", value=name)
    for message in refusals(file):
        assert "of the standard library" in message
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("name", ["yaml.load", "torch.load", "torch.hub.load", "numpy.ndarray", "no_such.Prior"])
def test_what_is_no_module_is_refused_before_it_is_called(file, name):
    change(file, "prior", "class_path", value=name)
    for message in refusals(file):
        assert "Expected --prior to be" in message


SPEC = {"class_path": "antigravity.Any", "init_args": {}}


@pytest.mark.parametrize("value", [SPEC, [SPEC], str(SPEC), f"[{SPEC}]"])
def test_no_value_is_a_class_in_disguise(file, value):
    """Where anything is allowed, jsonargparse imports what looks like a class."""
    change(file, "objective", "init_args", "num_particles", value=value)
    for message in refusals(file):
        assert "Expected --objective.num_particles to be a whole number" in message
    change(file, "objective", value={"class_path": "Trace_ELBO"})
    change(file, "prior", value={"class_path": f"{__name__}.Bare", "init_args": {"anything": value}})
    if isinstance(value, str):  # a text like any other
        assert value in str(parse("--config", str(file)).prior.init_args.anything)
    else:
        with pytest.raises(ValueError, match=r"Expected --prior\.anything to be a whole number or"):
            parse("--config", str(file))
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("value", ["os.abort", "sys.exit", "torch.nn.Tanh", "Tahn", None, ["ReLU"]])
def test_classes_among_the_options_are_those_of_a_list(file, value):
    change(file, "network", "init_args", "activation", value=value)
    for message in refusals(file):
        assert "Expected --network.activation to be CELU or ELU" in message
    change(file, "network", "init_args", "activation", value="Tanh")
    change(file, "likelihood", value={"class_path": "PixelCNN", "init_args": {"pixels": value}})
    for message in refusals(file):
        assert "Expected --likelihood.pixels to be Bernoulli or Beta" in message


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("epochs", 0, "Expected --epochs > 0; got 0"),
        ("epochs", "many", "Expected --epochs to be a whole number; got many"),
        ("epochs", None, "Expected --epochs to be a whole number; got None"),
        ("epochs", [1], "Expected --epochs to be a whole number"),
        ("batch_size", 0, "Expected --batch-size > 0; got 0"),
        ("learning_rate", -1.0, "Expected --learning-rate > 0; got -1.0"),
        ("patience", 0, "Expected --patience > 0; got 0"),
        ("latent_dim", -3, "Expected --latent-dim > 0; got -3"),
        ("epoch", 3, "unknown setting epoch. Did you mean epochs?"),
        ("config", "other.yaml", "unknown setting config"),
        ("out", "elsewhere", "unknown setting out"),
        ("inputs", {"x": "images"}, "Expected --inputs to be a list; got {'x': 'images'}"),
        ("freeze", {"a": {"b": []}}, "Expected --freeze to be a list; got {'a': {'b': []}}"),
        ("compile", "sometimes", "Expected --compile to be auto or true or false; got sometimes"),
        ("prior", None, "Expected prior to have a class_path and its init_args; got None"),
        ("prior", "VampPrior", "Expected prior to have a class_path"),
        ("prior", {"class_path": 3}, "Expected prior to have a class_path"),
        ("prior", {"class_path": "VampPrior", "init_args": [1]}, "Expected prior to have a class_path"),
        ("prior", {"class_path": "VampPrior", "dict_kwargs": {}}, "Expected prior to have a class_path"),
        ("prior", {"class_path": "StandardNormal", "init_args": {"num": 3}}, "unknown setting prior.num"),
        ("prior", {"class_path": "Masked"}, "Expected --prior to be"),
    ],
)
def test_settings_are_checked_when_they_are_read(file, key, value, message):
    change(file, key, value=value)
    for refused in refusals(file):
        assert message in refused


@pytest.mark.parametrize("key", ["epochs", "data_seed", "prior", "objective", "model", "patience"])
def test_a_run_has_all_its_settings(file, key):
    content = yaml.safe_load(file.read_text())
    del content[key]
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=f"settings.yaml: Expected all settings of a run; there is no {key}"):
        read_settings(file)


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "it has an alias"),
        ("epochs: 1\nepochs: 2\n", "it has epochs twice"),
        ("prior: {class_path: LARS, class_path: Flat}\n", "it has class_path twice"),
        ("epochs: 1" + " " * 200_000, "more than 100,000"),
        ("", "it does not consist of lines such as"),
        ("- 1\n", "it does not consist of lines such as"),
        ("1: 2\n", "it does not consist of lines such as"),
        ("[" * 3_000, "got an error"),
        ("epochs: [1\n", "got an error"),
        ("prior: !!python/object/apply:os.abort []\n", "got an error"),
        ("? [a, b]\n: 3\n", "got an error"),
    ],
)
def test_only_plain_yaml_is_read(file, text, reason):
    file.write_text(text)
    for message in refusals(file):
        assert reason in message


def test_special_files_are_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("fifo.yaml", "folder.yaml", "bytes.yaml"):
        assert len([*refusals(tmp_path / name)]) == 2
    with pytest.raises(
        ValueError, match="Expected a settings file in YAML at /dev/zero; got an error: it is not a file"
    ):
        parse("--config", "/dev/zero")


def test_a_module_of_the_user_never_stands_in_for_another(tmp_path):
    (tmp_path / "statistics.py").write_text("raise RuntimeError")
    (tmp_path / "only_here_for_this_test.py").write_text(
        "from torch import nn\nclass Prior(nn.Module):\n    def forward(self): ...\n"
    )
    before = list(sys.path)
    parse("--prior", "VampPrior")
    assert sys.path == before
    parse("--prior", "only_here_for_this_test.Prior")
    assert sys.path == [*before, str(tmp_path)]
    sys.modules.pop("only_here_for_this_test")


def test_settings_build_the_model(file):
    import torch

    model = build_model(
        read_settings(file),
        event_shape=(1, 4, 4),
        mean=torch.full((1, 4, 4), 0.5),
        pseudo_inputs=torch.zeros(9, 1, 4, 4),
    )
    assert len(model.prior.pseudo_inputs) == 7
    assert model.prior.encoder is model.encoder


def test_settings_that_are_read_again_are_of_their_own(file):
    first = read_settings(file)
    found = dump(first)
    first.inputs.append("x=images")
    first.prior.class_path = "another"
    assert dump(read_settings(file)) == found
