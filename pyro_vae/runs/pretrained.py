"""Runs that travel: a folder with weights, settings and a model card, here or on the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from ..disk.reading import read_whole
from ..disk.writing import saying, write_text, write_whole
from ..training.sameness import flat
from .evaluations import evaluations_of, in_a_line
from .folder import doubts_of, read_about, read_checked, require_run, write_about
from .imports import is_import_path
from .new_folder import COPY
from .parts import PARTS
from .settings import read_yaml
from .trained import Run, load

CARD = "README.md"
NOT_TRAVELLING = ("files", "kind", "working_directory", "keeps_checkpoint")  # of run.json: the digests are made anew
ON_THE_HUB = ["*.json", "*.npz", "*.safetensors", "settings.yaml", "source.*.py", CARD]  # all that is fetched


def save_pretrained(run: str | Path, folder: str | Path, *, license: str | None = None) -> None:
    """Write what others need of the run in a folder, as `Run.save_pretrained` says.

    Settings and command go as they are, with the paths of data in them; the folder that the run was trained in does
    not.
    """
    run, folder = require_run(run), Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"Expected a new or empty folder; got {folder}, which holds something. Choose another.")
    about = read_about(run)
    contents = {name: read_checked(run, name) for name in about["files"]}
    for name in evaluations_of(run):
        contents |= {f"{name}{end}": read_whole(run / f"{name}{end}", limit=None) for end in (".json", ".npz")}
    with saying(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_whole(folder / name, content)
    write_about(folder, {key: value for key, value in about.items() if key not in NOT_TRAVELLING})
    write_text(folder / CARD, model_card(run, license=license))


CARD_TEXT = """---
library_name: pyro-vae
tags: [pyro, variational-autoencoder, density-estimation]
{license}---

# {name}

A deep latent-variable model of {parts}, with {latent_dim} latent dimensions and {num_parameters:,} parameters.

## Data

{protocol}.

## log p(x)

{evidence}

## Training

`{command}`: {epochs}. Versions: {versions}.

## Use

```python
import pyro_vae

run = pyro_vae.from_pretrained("NAME"{trust})  # its name on the Hub, or a folder
run.model, run.guide  # for log_marginal, sample, reconstruct and all else that takes a pair
```
"""


def model_card(run: Path, *, license: str | None = None) -> str:
    """What a run is, in Markdown under the header that the Hub reads."""
    about, settings = read_about(run), read_yaml(run / "settings.yaml")
    evidence = [f"- {in_a_line(each)}. {each['protocol']}. `{name}`" for name, each in evaluations_of(run).items()]
    doubts = [f"- {doubt}" for doubt in doubts_of(about)]
    elbo, epochs = about["best_validation_elbo"], f"{about['epochs']} epochs"
    if elbo is not None:
        epochs += (
            f", of which number {about['best_epoch']} has the best validation ELBO, {elbo:.2f} nats per data point"
        )
    return CARD_TEXT.format(
        license=f"license: {license}\n" if license else "",
        name=run.resolve().name,
        parts=", ".join(settings[part]["class_path"] for part in PARTS if part in settings),
        latent_dim=settings["latent_dim"],
        num_parameters=about["num_parameters"],
        protocol=about["protocol"],
        evidence="\n".join([*(evidence or ["Not known: it was not evaluated."]), *doubts]),
        command=about["command"],
        epochs=epochs,
        versions=", ".join(f"{name} {version}" for name, version in about["versions"].items()),
        trust=", trust=True" if _foreign(settings) else "",
    )


def push_to_hub(
    run: str | Path, name: str, *, private: bool | None = None, token: str | None = None, license: str | None = None
) -> str:
    """Upload the run in a folder, as `Run.push_to_hub` says; returns the address."""
    hub, folder = _hub(), require_run(run)

    class OnTheHub(hub.ModelHubMixin):  # type: ignore[name-defined]
        """What the Hub's own mixin saves and uploads."""

        def _save_pretrained(self, save_directory: Path) -> None:
            save_pretrained(folder, save_directory, license=license)

    return str(OnTheHub().push_to_hub(name, private=private, token=token, commit_message=f"Add {folder.name}"))


def from_pretrained(
    name: str | Path,
    *,
    revision: str | None = None,
    token: str | None = None,
    root: str | Path | None = None,
    device: str | torch.device = "auto",
    trust: bool = False,
) -> Run:
    """Load a run of somebody: from the Hugging Face Hub, or from a folder of `save_pretrained`.

    Nothing of it is executed: weights are safetensors, settings plain YAML, and classes those of this library. Classes
    from elsewhere, which run their code, are imported with ``trust=True`` alone; look at source.*.py first.

    Args:
        name: on the Hub, "user/model", or a folder.
        revision: of the Hub: a branch, a tag or a commit.
        token: of the Hub, for what is private.
        root: folder of the data sets, for ``run.data``.
        device: where the module goes; "auto" is CUDA where there is one.
        trust: whether classes from outside this library may be imported.

    Raises:
        ImportError: it is on the Hub, and huggingface_hub is not installed.
        FileNotFoundError: there is no such run.
        ValueError: it has classes from outside this library, and there is no consent; or a file is damaged.

    Example:
        >>> run = from_pretrained("somebody/vae-of-digits")  # doctest: +SKIP
        >>> log_marginal(run.model, run.guide, run.data.test)  # doctest: +SKIP
        LogMarginal(log p(x): mean -22.9 nats per data point, ...)
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = _fetched(str(name), revision=revision, token=token)
    foreign = _foreign(read_yaml(require_run(folder) / "settings.yaml"))
    if foreign and not trust:
        copies = ", ".join(sorted(path.name for path in folder.iterdir() if COPY.fullmatch(path.name)))
        raise ValueError(
            f"Expected classes of this library in {name}; got {foreign[0]}, whose code would run. Look at "
            f"{f'{copies} in {folder}' if copies else 'where it comes from'}, then load it with trust=True."
        )
    return load(folder, root=root, device=device, trust=trust)


def _foreign(settings: dict[str, Any]) -> list[str]:
    """What in the settings of the parts may be the import path of something outside this library."""
    texts = [text for part in PARTS for _, text in flat(settings.get(part)) if isinstance(text, str)]
    return [text for text in texts if is_import_path(text) and not text.startswith("pyro_vae.")]


def _fetched(name: str, *, revision: str | None, token: str | None) -> Path:
    """The folder of a run on the Hub, downloaded if it is not there yet."""
    hub = _hub()
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise FileNotFoundError(
            f"Expected the folder of a run, or USER/MODEL on the Hub; got {name}, which is neither."
        )
    try:
        return Path(hub.snapshot_download(name, revision=revision, token=token, allow_patterns=ON_THE_HUB))
    except (hub.errors.HfHubHTTPError, hub.errors.LocalEntryNotFoundError) as error:
        reason = " ".join(str(error).split())
        raise FileNotFoundError(f"Expected a run at {name} on the Hub; got an error: {reason}") from error


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError('Expected the package huggingface_hub; got none. Run pip install "pyro-vae[hub]".') from error
    return huggingface_hub
