"""Damaged and hostile inputs, and what becomes of each: python experiments/robustness/damaged_inputs.py

Bytes of data files and run folders are flipped, cut, left out, repeated and overwritten; entries of JSON and YAML are
removed, renamed and exchanged, and the digests made anew, as somebody does who knows how. Each input must be refused by
a sentence, or be read as what it says: of formats with a checksum, as it was. A failure is an error of another class or
without our words, more than a second of processor time, more than a gibibyte of memory, a process or a pickle that is
started, and a changed file of a run that is taken for the one that was written.

The result is written after each kind, and kinds that it holds already are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import random
import resource
import shlex
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import scipy.sparse
import torch
import yaml
from byte_damage import change_json, damaged, sealed
from PIL import Image

from pyro_vae import (
    MLP,
    VAE,
    Bernoulli,
    Checkpoint,
    Fit,
    GaussianEncoder,
    LogMarginal,
    StandardNormal,
    compress,
    data,
    decompress,
    fit,
    load,
)
from pyro_vae.commands.main import main as pyro_vae
from pyro_vae.runs.environment import environment

SECONDS, BYTES = 1.0, 2**30
EXECUTED = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "pickle.find_class", "socket.connect")
Try = Callable[[random.Random], Any]


def saved(save: Callable[..., Any], *args: Any, **kwargs: Any) -> bytes:
    """What a function writes into a file."""
    file = io.BytesIO()
    save(file, *args, **kwargs)
    return file.getvalue()


def data_files() -> dict[str, bytes]:
    """Small files of each form."""
    stream = np.random.default_rng(0)
    real, grey = stream.normal(size=(12, 3)).round(3), stream.integers(0, 256, (12, 3, 4), dtype=np.uint8)
    table = pandas.DataFrame(real, columns=["a", "b", "\u00fc"])
    files = {
        "npy, grey.npy": saved(np.save, grey),
        "npy, real.npy": saved(np.save, real),
        "npz, splits.npz": saved(np.savez_compressed, train=real[:8], valid=real[8:10], test=real[10:]),
        "npz, labels.npz": saved(np.savez, images=real, labels=np.arange(12) % 3),
        "npz, sparse.npz": saved(scipy.sparse.save_npz, scipy.sparse.random(12, 9, 0.3, "csr", rng=stream)),
        "table, a.csv": table.to_csv(index=False).encode(),
        "table, a.tsv": table.to_csv(sep="\t").encode(),
        "Parquet, a.parquet": saved(table.to_parquet),
    }
    for kind in ("png", "jpeg", "gif", "bmp", "webp"):
        files[f"image, a.{kind}"] = saved(Image.fromarray(grey[0]).save, kind)
    return files


def of_data(name: str, content: bytes, work: Path) -> Try:
    """Load one damaged file; an image among whole ones."""
    folder = work / name.replace(", ", "_")
    folder.mkdir()
    path = folder / name.partition(", ")[2]
    is_image = name.startswith("image")
    for i in range(10 if is_image else 0):
        (folder / f"{i}{path.name}").write_bytes(content)

    def attempt(rng: random.Random) -> None:
        path.write_bytes(damaged(content, rng))
        found = data.load(folder if is_image else path)
        for x in (found.train, found.validation, found.test):
            assert x.isfinite().all()
        if path.suffix == ".npy":  # without a checksum: the numbers are those that NumPy finds
            theirs = np.sort(np.load(path).astype(np.float32).ravel())
            ours = torch.cat([found.train, found.validation, found.test]).flatten().sort().values.numpy()
            assert np.allclose(ours * (255 if found.levels else 1), theirs, atol=1e-4, rtol=0)

    return attempt


def of_amat(work: Path) -> Try:
    """Published text files of MNIST, damaged."""
    folder = work / "amat"
    folder.mkdir()
    line = b"0 1 " * 392 + b"\n"

    def attempt(rng: random.Random) -> None:
        for part in ("train", "valid", "test"):
            (folder / f"binarized_mnist_{part}.amat").write_bytes(damaged(line * 3, rng))
        data.load("static_mnist", folder)
        raise AssertionError("taken for the published images")

    return attempt


def of_idx(work: Path) -> Try:
    """IDX files of MNIST, damaged."""
    folder = work / "idx" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    sizes = {"train-images-idx3": (60_000, 784), "train-labels-idx1": (60_000, 1)}
    sizes |= {"t10k-images-idx3": (10_000, 784), "t10k-labels-idx1": (10_000, 1)}

    def attempt(rng: random.Random) -> None:
        for name, (count, _) in sizes.items():
            head = b"\0\0\x08\x03" + count.to_bytes(4, "big") + (28).to_bytes(4, "big") * 2
            (folder / f"{name}-ubyte").write_bytes(damaged(head + bytes(784), rng))
        data.load("mnist", work / "idx")
        raise AssertionError("taken for the published images")

    return attempt


class OfRun:
    """A run folder with an evaluation, and what is done to its files."""

    def __init__(self, work: Path) -> None:
        self.folder = work / "run"
        small = ["--epochs", "1", "--latent-dim", "2", "--network", "MLP", "--network.hidden", "[8]"]
        np.save(work / "rows.npy", np.random.default_rng(0).integers(0, 2, (40, 6)).astype(np.float32))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            pyro_vae(["train", *small, "--data", str(work / "rows.npy"), "--out", str(self.folder)])
            pyro_vae(["evaluate", str(self.folder), "--num-samples", "30"])
        self.evaluation = next(self.folder.glob("evaluation_*.json")).with_suffix("")
        names = ("run.json", "settings.yaml", "weights.safetensors")
        names += (f"{self.evaluation.name}.json", f"{self.evaluation.name}.npz")
        self.files = {name: (self.folder / name).read_bytes() for name in names}
        self.expected = self.read()

    def read(self) -> list[Any]:
        """All numbers that the run and its evaluation have."""
        run = load(self.folder)
        result = LogMarginal.load(self.evaluation)
        tensors = [*run.module.state_dict().values(), result.log_prob, result.standard_error, result.khat]
        return [[x.tolist() for x in tensors], run.settings, run.about["epochs"]]

    def restore(self) -> None:
        """As the training wrote it."""
        for name, content in self.files.items():
            (self.folder / name).write_bytes(content)

    def flipped(self, rng: random.Random) -> None:
        """Damage of one file, which the digests tell."""
        self.restore()
        name = rng.choice(list(self.files))
        (self.folder / name).write_bytes(damaged(self.files[name], rng))
        assert repr(self.read()) == repr(self.expected), "taken for what was written"

    def exchanged(self, rng: random.Random) -> None:
        """An entry of run.json or of the evaluation is another one, and the digest right."""
        self.restore()
        name = rng.choice([name for name in self.files if name.endswith(".json")])
        content = change_json(json.loads(self.files[name]), rng)
        (self.folder / name).write_bytes(sealed(content if isinstance(content, dict) else {"content": content}))
        self.read()

    def settings(self, rng: random.Random) -> None:
        """A setting is another one, and all digests right."""
        self.restore()
        content = yaml.safe_dump(change_json(yaml.safe_load(self.files["settings.yaml"]), rng)).encode()
        if rng.random() < 0.3:
            content = damaged(content, rng)
        (self.folder / "settings.yaml").write_bytes(content)
        about = json.loads(self.files["run.json"])
        about["files"]["settings.yaml"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        (self.folder / "run.json").write_bytes(sealed(about))
        self.read()


def small_pair() -> VAE:
    """Of a few parameters."""
    torch.manual_seed(0)
    px = Bernoulli((1, 2, 2))
    return VAE(StandardNormal(2), GaussianEncoder((1, 2, 2), 2), MLP(2, px.feature_shape), px)


def of_compressed() -> Try:
    """A compressed file, damaged: what comes back from it, if anything, is what was put in."""
    vae, x = small_pair(), torch.rand(60, 1, 2, 2, generator=torch.Generator().manual_seed(0)).round()
    file = compress(vae.model, vae.guide, x)

    def attempt(rng: random.Random) -> None:
        assert torch.equal(decompress(vae.model, vae.guide, damaged(file, rng)), x), "taken for what was written"

    return attempt


class OfTraining:
    """Checkpoints and saved results of a small training."""

    def __init__(self, work: Path) -> None:
        self.folder, self.fits, self.x = work / "checkpoint", work / "fit", torch.rand(20, 1, 2, 2).round()
        self.train(epochs=2).save(self.fits)
        self.files = {path.name: path.read_bytes() for path in self.folder.glob("checkpoint-*2.*")}
        self.saved = {path.name: path.read_bytes() for path in self.fits.iterdir()}
        self.expected = self.numbers(self.train(epochs=2))
        vae = small_pair()
        assert self.numbers(Fit.load(self.fits, vae.model, vae.guide)) == self.expected

    def train(self, *, epochs: int) -> Fit:
        """Go on, or read what is over."""
        vae = small_pair()
        checkpoint = Checkpoint(self.folder, 0, keep=True)
        return fit(vae.model, vae.guide, self.x, epochs=epochs, checkpoint=checkpoint, progress=False, compile=False)

    def numbers(self, result: Fit) -> list[Any]:
        """The state and the losses."""
        return [{name: x.tolist() for name, x in result.state.items()}, [entry["loss"] for entry in result.history]]

    def checkpoint(self, rng: random.Random) -> None:
        """Damage of the only checkpoint."""
        for path in self.folder.glob("checkpoint-*"):
            path.unlink()
        for name, content in self.files.items():
            (self.folder / name).write_bytes(content)
        name = rng.choice(list(self.files))
        (self.folder / name).write_bytes(damaged(self.files[name], rng))
        assert self.numbers(self.train(epochs=2)) == self.expected, "taken for what was written"

    def result(self, rng: random.Random) -> None:
        """Damage of a saved `Fit`."""
        for name, content in self.saved.items():
            (self.fits / name).write_bytes(content)
        name = rng.choice(list(self.saved))
        is_forged = name.endswith(".json") and rng.random() < 0.5
        content = change_json(json.loads(self.saved[name]), rng) if is_forged else None
        forged = sealed(content if isinstance(content, dict) else {"content": content})
        (self.fits / name).write_bytes(forged if is_forged else damaged(self.saved[name], rng))
        vae = small_pair()
        found = Fit.load(self.fits, vae.model, vae.guide)
        assert is_forged or self.numbers(found) == self.expected, "taken for what was written"


SHARES = {"npy": 15, "npz": 10, "table": 6, "Parquet": 5, "image": 2}  # thousands of inputs for each file of the kind


def kinds(work: Path, scale: float) -> Iterator[tuple[str, int, Try]]:
    """What is tried, how often, and how; kinds that take longer are tried less often."""
    for name, content in data_files().items():
        kind = name.partition(", ")[0]
        yield kind, int(scale * 1000 * SHARES[kind]), of_data(name, content, work)
    yield "amat", int(scale * 8000), of_amat(work)
    yield "IDX", int(scale * 3000), of_idx(work)
    yield "compressed", int(scale * 10_000), of_compressed()
    training, run = OfTraining(work), OfRun(work)
    yield "saved Fit", int(scale * 3000), training.result
    yield "checkpoint", int(scale * 150), training.checkpoint
    yield "run folder, damaged", int(scale * 150), run.flipped
    yield "run folder, digests made anew", int(scale * 150), run.exchanged
    yield "settings, digests made anew", int(scale * 150), run.settings


def outcome(attempt: Try, rng: random.Random, started: list[str]) -> tuple[str, str]:
    """What became of one input, and the error if it is a failure."""
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started.clear()
    found, said = "read", ""
    try:
        attempt(rng)
    except (ValueError, FileNotFoundError) as error:
        ours = "Expected " in str(error) or str(error).startswith("In ")
        found, said = ("refused", "") if ours else ("failed", f"other words: {error!r:.200}")
    except BaseException as error:
        found, said = "failed", f"{error!r:.200}"
    if started:
        found, said = "failed", f"started {started[0]}"
    if time.process_time() - began > SECONDS:
        found, said = "failed", f"{time.process_time() - began:.1f} seconds; then {found}"
    if 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) > BYTES:
        found, said = "failed", "more than a gibibyte of memory"
    return found, said


def rows_of(path: Path) -> dict[str, dict[str, Any]]:
    """What is known already, by kind."""
    return {row["method"]: row for row in json.loads(path.read_text())["rows"]} if path.exists() else {}


def main() -> None:
    """Try, say and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of inputs")
    parser.add_argument("--kinds", nargs="*", help="of inputs, as the table names them; by default all")
    parser.add_argument("--seed", type=int, default=0, help="of the damages")
    parser.add_argument("--smoke", action="store_true", help="a few inputs of each kind, to see that it works")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results" / "damaged_inputs.json")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of a checkpoint that is damaged, for instance
    started: list[str] = []
    line = shlex.join(["python", "experiments/robustness/damaged_inputs.py", *sys.argv[1:]])
    work = Path(tempfile.mkdtemp())
    try:
        made = list(kinds(work, 0.007 if settings.smoke else settings.scale))
        sys.addaudithook(lambda event, _: started.append(event) if event in EXECUTED else None)
        for method in dict.fromkeys(method for method, *_ in made):
            if method in rows_of(settings.out) or (settings.kinds and method not in settings.kinds):
                continue
            row: dict[str, Any] = {"method": method, "tried": 0, "refused": 0, "read": 0, "failed": 0, "failures": []}
            for file, (_, count, attempt) in enumerate(kind for kind in made if kind[0] == method):
                for i in range(count):
                    found, said = outcome(attempt, random.Random(f"{settings.seed} {method} {file} {i}"), started)
                    row["tried"] += 1
                    row[found] += 1
                    row["failures"] += [said] if said else []
            print(row, flush=True)
            rows = rows_of(settings.out) | {method: row | {"command": line}}
            lines = "; ".join(dict.fromkeys(row["command"] for row in rows.values()))
            about = environment(torch.device("cpu")) | {"command": lines, "smoke": settings.smoke}
            settings.out.write_text(json.dumps(about | {"rows": list(rows.values())}, indent=2) + "\n")
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
