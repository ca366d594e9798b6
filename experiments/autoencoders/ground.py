"""The ground all autoencoders stand on: data, training, one row of numbers for each, figures, a result as JSON."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import io
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from frechet import classifier, classify, frechet_distance
from matplotlib.figure import Figure
from PIL import Image
from pyro.infer import Trace_ELBO
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from pyro_vae import VAE, FlatPrior, data, decode, encode, fit, log_marginal, plots, sample
from pyro_vae.runs.environment import environment

BATCH_SIZE = 256
NUM_VALIDATION = 2000  # images that choose the best epoch
NUM_IMAGES, NUM_SAMPLES = 1000, 500  # of log p(x)
COLUMNS = 10  # images in a row of a figure
CLASSIFIER_EPOCHS = 3


class Ground:
    """One experiment's data, rows and figures.

    Attributes:
        data: as the pairs see it, binarized or not.
        grey: test images in grey levels (N, 1, 28, 28): what every reconstruction is compared with.
        shown: indices of the test images in figures, one of each class.
        folder: where figures go.
        smoke: a run of seconds on scikit-learn's digits, to see that everything works.
    """

    def __init__(self, name: str, *, dataset: str, binarization: data.Binarization, chosen: argparse.Namespace) -> None:
        self.name, self.smoke, self.folder = name, chosen.smoke, chosen.out / name
        self._load = digits if chosen.smoke else functools.partial(data.load, dataset, chosen.root)
        self._original = original = self._load(binarization="none")
        self.grey, self.labels = original.test, original.labels.test
        self.shown = torch.stack([(self.labels == label).nonzero()[0, 0] for label in range(COLUMNS)])
        self.rows: list[dict[str, Any]] = []
        self.histories: dict[str, list[dict[str, float]]] = {}
        self.numbers: dict[str, Any] = {}
        self.protocols: dict[str, str] = {}
        self._seconds: dict[str, float] = {}
        self.binarize(binarization)

    def binarize(self, binarization: data.Binarization) -> None:
        """Let the pairs see the images binarized so from here on."""
        binary = self._load(binarization=binarization)
        few = binary.validation[:NUM_VALIDATION]
        protocol = f"{binary.protocol}; the best epoch is that of the first {len(few):,} validation images"
        self.data = dataclasses.replace(binary, validation=few, labels=None, protocol=protocol)
        self.protocols[binarization], self.binarization = protocol, binarization

    def keep(self, count: int) -> None:
        """Let the pairs be trained on the first images alone from here on."""
        protocol = f"{self.protocols[self.binarization]}; trained on the first {count:,} images"
        self.data = dataclasses.replace(self.data, train=self.data.train[:count], protocol=protocol)
        self.protocols[f"{count:,} images"] = protocol

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return self.data.event_shape

    @property
    def mean(self) -> Tensor:
        """Mean training image: where a Bernoulli likelihood starts."""
        return self.data.train.mean(0)

    def fit(
        self,
        name: str,
        pair: VAE,
        *,
        epochs: int,
        pictures: Sequence[int] = (),
        each_epoch: Callable[[int], None] | None = None,
        row: bool = True,
        **options: Any,
    ) -> VAE:
        """Train a pair and make its row; the seconds of several calls under one name add up.

        Args:
            name: of the row, and of the figures.
            pair: prior, encoder, decoder and likelihood.
            epochs: 2 in a smoke run.
            pictures: epochs after which a figure of reconstructions (and of samples) is saved.
            each_epoch: called with the number of each epoch.
            row: whether training ends here.
            options: of `pyro_vae.fit`.
        """
        epochs = min(epochs, 2) if self.smoke else epochs
        wanted = {min(epoch, epochs) for epoch in pictures}
        drawing = 0.0

        def on_step(step: int, metrics: dict[str, float]) -> None:
            nonlocal drawing
            if (epoch := int(metrics.get("epoch", 0))) == 0:
                return
            started = time.perf_counter()
            if epoch in wanted:
                self.picture(f"{name}, epoch {epoch}", pair)
            if each_epoch is not None:
                each_epoch(epoch)
            drawing += time.perf_counter() - started
            if epoch in (1, epochs) or epoch % 10 == 0:
                print(f"{name}: epoch {epoch}, loss {metrics['loss']:.2f}, {metrics['seconds']:.1f} s", flush=True)

        options = {"batch_size": BATCH_SIZE, "progress": False} | options
        with self.timed(name):
            result = fit(pair.model, pair.guide, self.data, epochs=epochs, on_step=on_step, **options)
        self._seconds[name] -= drawing
        self.histories.setdefault(name, []).extend(result.history)
        if row:
            self.row(name, pair)
        return pair

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time spent inside to the seconds of a row."""
        started = time.perf_counter()
        yield
        self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - started

    def row(self, name: str, pair: VAE, *, inputs: Tensor | None = None, remark: str = "") -> None:
        """Numbers of a pair trained under that name; inputs of the encoder are the test images if not given."""
        inputs = self.data.test if inputs is None else inputs
        drawn = None if isinstance(pair.prior, FlatPrior) else sample(pair.model, inputs)[1]
        numbers = self.evidence(pair) | {
            "parameters": sum(p.numel() for p in pair.parameters() if p.requires_grad),
            "epochs": len(self.histories.get(name, [])),
            "likelihood": repr(pair.likelihood),
        }
        self.add_row(name, rebuild(pair, inputs), drawn=drawn, **numbers)
        self.rows[-1]["model"] += remark

    def add_row(self, name: str, reconstructions: Tensor, *, drawn: Tensor | None = None, **numbers: Any) -> None:
        """Numbers of reconstructions of all test images (N, 1, 28, 28), and of samples where there are any."""
        rebuilt, grey = reconstructions.clamp(0, 1), self.grey
        psnr = peak_signal_noise_ratio(rebuilt, grey, data_range=1.0, dim=(1, 2, 3), reduction="elementwise_mean")
        self.rows.append(
            {
                "model": name,
                "data": self.data.name,
                "binarization": self.binarization,
                "squared_error": (rebuilt - grey).square().mean().item(),
                "psnr": psnr.item(),
                "ssim": structural_similarity_index_measure(rebuilt, grey, data_range=1.0).item(),
                "frechet_reconstructions": self.frechet(rebuilt),
                "frechet_samples": None if drawn is None else self.frechet(drawn.clamp(0, 1)),
                "seconds": round(self._seconds.get(name, 0.0), 1),
                **numbers,
            }
        )
        print({key: f"{value:.4g}" if isinstance(value, float) else value for key, value in self.rows[-1].items()})

    def evidence(self, pair: VAE) -> dict[str, Any]:
        """Test ELBO and log p(x), nats per image; None where the model has no log p(x)."""
        count, num_samples = (20, 5) if self.smoke else (NUM_IMAGES, NUM_SAMPLES)
        chosen = torch.randperm(len(self.data.test), generator=torch.Generator().manual_seed(0))[:count]
        try:
            result = log_marginal(
                pair.model, pair.guide, self.data.test[chosen], num_samples=num_samples, estimator="guide"
            )
        except ValueError as error:
            if "log p(x)" not in str(error):
                raise
            return {"test_elbo": None, "log_marginal": None}
        return {
            "test_elbo": self.test_elbo(pair),
            "log_marginal": {
                "mean": result.mean.value,
                "standard_error": result.mean.standard_error,
                "monte_carlo_error": result.mean.monte_carlo_error,
                "median_ess": result.ess.median().item(),
                "num_images": count,
                "num_samples": num_samples,
            },
        }

    def test_elbo(self, pair: VAE) -> float:
        """log p(x|z) + log p(z) - log q(z|x) with one draw of z for each test image, nats per image."""
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(0)
            losses = [Trace_ELBO().loss(pair.model, pair.guide, x) for x in self.data.test.split(1000)]
        return -sum(losses) / len(self.data.test)

    def frechet(self, images: Tensor) -> float:
        """Frechet distance of images (N, 1, 28, 28) to the grey test images in the classifier's feature space."""
        return frechet_distance(self.classifier[0], images, self.grey)

    @functools.cached_property
    def classifier(self) -> nn.Sequential:
        """Features of grey images, and classes from them; trained once and kept beside the results, not committed."""
        path = self.folder.parent / f"classifier_{self.data.name}.safetensors"
        network = classifier(self.event_shape)
        if path.exists():
            load_model(network, path)
        else:
            classify(network, self._original, epochs=1 if self.smoke else CLASSIFIER_EPOCHS)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_model(network, str(path))
        with torch.no_grad():
            right = torch.cat([network(x).argmax(-1) for x in self.grey.split(1000)]) == self.labels
        self.numbers["classifier_test_accuracy"] = right.float().mean().item()
        return network

    def picture(self, name: str, pair: VAE) -> None:
        """Save reconstructions of one test image of each class, what the encoder saw between, and samples."""
        seen, grey = self.data.test[self.shown], self.grey[self.shown]
        rows = {"original": grey} | ({} if torch.equal(seen, grey) else {"seen by encoder": seen})
        rows |= {"reconstruction": rebuild(pair, seen)}
        if not isinstance(pair.prior, FlatPrior):
            drawn = sample(pair.model, seen.repeat(2, 1, 1, 1))[1]
            rows |= dict(zip(("samples", ""), drawn.chunk(2), strict=True))
        self.figure(name, plots.image_rows(rows, title=name))

    def figure(self, name: str, figure: Figure) -> None:
        """Save a figure, in few colours: pages of images are large files otherwise."""
        file = io.BytesIO()
        figure.savefig(file, dpi=90)
        Image.open(file).convert("RGB").quantize(128).save(self.path(f"{name}.png"), optimize=True)

    def path(self, name: str) -> Path:
        """A file in the folder of figures."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / name.replace(",", "").replace(" ", "_")


def run(experiment: Callable[[Ground], None], dataset: str, binarization: data.Binarization = "none") -> None:
    """Run an experiment from its command line and write NAME.json beside the folder NAME of its figures."""
    main = sys.modules[experiment.__module__]
    path = Path(str(main.__file__)).resolve()
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder of the data sets")
    parser.add_argument("--smoke", action="store_true", help="seconds, on scikit-learn's digits: does it run?")
    parser.add_argument("--out", type=Path, default=path.parent / "results", help="folder of results")
    chosen = parser.parse_args()
    started = time.perf_counter()
    ground = Ground(path.stem, dataset=dataset, binarization=binarization, chosen=chosen)
    for old in [*ground.folder.glob("*.png"), *ground.folder.glob("*.gif")]:  # of an earlier run
        old.unlink()
    experiment(ground)
    about = environment(torch.device("cpu"))
    about["versions"] |= {name: metadata.version(name) for name in ("torchmetrics", "scikit-learn")}
    result = {
        "question": str(main.__doc__).split("\n")[0],
        "command": " ".join(["python", f"experiments/autoencoders/{path.name}", *sys.argv[1:]]),
        "smoke": chosen.smoke,
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "protocols": ground.protocols,
        "batch_size": BATCH_SIZE,
        "rows": ground.rows,
        "numbers": ground.numbers,
        "figures": sorted(file.name for file in ground.folder.iterdir()),
        "histories": {name: shortened(history) for name, history in ground.histories.items()},
        **about,
    }
    (chosen.out / f"{path.stem}.json").write_text(json.dumps(result, indent=1) + "\n")


def shortened(history: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Losses, and ELBO, rate and distortion of validation images, by epoch, nats per image."""
    keys = [key for key in history[0] if key in ("loss", "kl_weight") or key.startswith("validation_")]
    return {key: [float(f"{entry[key]:.6g}") for entry in history] for key in keys}


def digits(*, binarization: data.Binarization) -> data.Data:
    """scikit-learn's digits, enlarged to 28 x 28."""
    small = data.load("digits", binarization=binarization)
    large = {name: functional.interpolate(x, 28).contiguous() for name, x in small.splits._asdict().items()}
    return dataclasses.replace(small, **large, protocol=f"{small.protocol}; enlarged to 28 x 28")


def rebuild(pair: VAE, inputs: Tensor) -> Tensor:
    """Means of p(x|z) at the mean codes of the inputs."""
    return torch.cat([decode(pair.model, encode(pair.model, pair.guide, x), x) for x in inputs.split(1000)])
