"""What settings name from outside the library is not imported without consent, however it is written."""

import shutil
import sys

import pytest
import yaml
from test_hostile_runs import SMALL, seal

import pyro_vae
from pyro_vae.commands.main import main


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign") / "run"
    main(["train", *SMALL, "--out", str(folder)])
    return folder


@pytest.mark.parametrize(
    "path", ["{}.Own", "{}.Own ", "{}.Own\n", "{}..Own", "{}.Own.", " {}.Own", "{}.Own-", "{}.0"], ids=repr
)
@pytest.mark.parametrize("name", ["somewhere_else", "\u00fcberall"])
def test_nothing_foreign_is_imported_however_it_is_written(run, tmp_path, monkeypatch, path, name):
    """A package that is installed, and no part of the run: a run of somebody else names it in its settings."""
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "site" / f"{name}.dist-info").mkdir(parents=True)
    (tmp_path / "site" / f"{name}.py").write_text("from pyro_vae import Bernoulli\n\nclass Own(Bernoulli):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, name, raising=False)
    settings_file = tmp_path / "run" / "settings.yaml"
    content = yaml.safe_load(settings_file.read_text())
    content["likelihood"]["class_path"] = path.format(name)
    settings_file.write_text(yaml.safe_dump(content, allow_unicode=True))
    seal(tmp_path / "run", ["settings.yaml"])
    with pytest.raises(ValueError, match="Expected "):
        pyro_vae.from_pretrained(tmp_path / "run")
    assert name not in sys.modules
