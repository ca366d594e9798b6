"""What the README prints is true: its code runs, its tables are those of the results, its commands exist."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pyro
import pytest
import torch

import pyro_vae
from pyro_vae import LogMarginal
from pyro_vae.commands.main import commands, main
from pyro_vae.runs import parts as settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXPERIMENTS = (ROOT / "experiments" / "README.md").read_text()


def test_python_code_runs_in_order(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL))
    code = code.replace("KLWarmup(epochs=10)", "1.0")
    code = re.sub(r"num_temperatures=\d+", "num_temperatures=4", code.replace("error=0.05", "error=1.0"))
    quick = re.sub(r"\bepochs=\d+", "epochs=1", re.sub(r"num_samples=\d+", "num_samples=10", code))
    assert quick != code
    names: dict[str, object] = {}
    monkeypatch.setattr("builtins.print", lambda *args, **kwargs: None)
    with pyro.get_param_store().scope():  # one example trains with SVI alone, in the global store
        exec(compile(quick, "README.md", "exec"), names)
    assert isinstance(names["evidence"], LogMarginal)
    assert torch.isfinite(names["evidence"].log_prob).all()
    assert set(names["evaluations"]) == {"MyVAE", "TwoLevels"}


@pytest.mark.parametrize(("name", "lines"), [("MyVAE", 12), ("TwoLevels", 17)])
def test_models_are_as_short_as_said(name, lines):
    (source,) = re.findall(rf"^(class {name}.*?)(?:\n\n\S|```)", README, flags=re.DOTALL | re.MULTILINE)
    assert len([line for line in source.splitlines() if line.strip()]) <= lines + 1  # the class line aside


def test_tables_are_those_of_the_results():
    tables = runpy.run_path(str(ROOT / "experiments" / "readme_tables.py"), run_name="tables")
    readmes = [path.read_text() for path in tables["READMES"]]
    assert [tables["write"](readme) for readme in readmes] == readmes, "run python experiments/readme_tables.py"
    for name, table in tables["TABLES"].items():
        assert (ROOT / "experiments/results" / name).read_text().strip() == table()
        assert f"<!-- table: experiments/results/{name} -->" in "".join(readmes)


def test_the_version_to_cite_is_this_one():
    assert re.findall(r"version += \{(.*)\}", README) == [pyro_vae.__version__]


def test_commands_of_the_readme_exist():
    printed = re.findall(r"^pyro-vae (\w+)", README, flags=re.MULTILINE)
    assert printed
    assert set(printed) <= set(commands())


def test_gallery_names_every_part_with_its_first_sentence():
    tables = runpy.run_path(str(ROOT / "experiments" / "readme_tables.py"), run_name="tables")
    assert tables["gallery"]() in README, "run python experiments/readme_tables.py"
    for part in ("model", "prior", "likelihood", "encoder", "network"):
        for name in settings.short_names(part):
            sentence = tables["first_sentence"](settings.find_class(part, name))
            assert f"| `{name}`" in README
            assert 30 < len(sentence) <= 120, f"{name}: {sentence}"


@pytest.mark.parametrize("module", ["my_models", "my_parts"])
def test_own_parts_run_from_the_command_line_as_printed(module, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    (source,) = (
        block for block in blocks if {"my_models": "class MyVAE", "my_parts": "class GumbelPrior"}[module] in block
    )
    Path(f"{module}.py").write_text(source)
    commands = re.findall(rf"^pyro-vae (.* {module}\..*)", README, flags=re.MULTILINE)
    assert commands
    for number, command in enumerate(commands):
        quick = ["--epochs", "1", "--kl-warmup", "0", "--out", str(number)]
        quick += ["--seeds", "1", "--num-samples", "5", "--num-images", "10"] if "compare" in command else []
        main([*shlex.split(command), *quick])
        assert (Path(str(number)) / ("comparison.md" if "compare" in command else "settings.yaml")).exists()
    monkeypatch.delitem(sys.modules, module)


@pytest.mark.parametrize("name", ["GumbelPrior", "AnyBits", "LogisticEncoder", "Linear"])
def test_own_parts_are_short(name):
    (source,) = re.findall(rf"^(class {name}.*?)(?:\n\n\S|```)", README, flags=re.DOTALL | re.MULTILINE)
    assert len(source.splitlines()) < 30
