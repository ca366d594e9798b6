"""What do temperature and truncation buy, and are draws copies? python experiments/uses/generation.py RUN

Precision and coverage of draws in the space of principal components, and how often training data are nearer to them
than other data are, over temperatures and truncations; training data themselves in their place show what could be had.
"""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.figure import Figure
from record import Record, lines, trained
from sklearn.decomposition import PCA
from torch import Tensor

from pyro_vae import fidelity, nearest_share, sample

COUNT = 2000  # draws, and test data points
COMPONENTS = 40
NOISE = [{"temperature": t} for t in (0.4, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)] + [
    {"truncation": t} for t in (0.5, 1.0, 1.5, 2.0)
]


def main() -> None:
    """Draw, measure, plot."""
    record = Record("generation", __doc__.splitlines()[0], run=True)
    run = record.run()
    train, test = run.data.train, run.data.test
    count = min(100 if record.smoke else COUNT, len(test))
    test = test[torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:count]]
    space = PCA(min(COMPONENTS, count // 2), random_state=0).fit(train.flatten(1).numpy())

    def measured(images: Tensor) -> dict[str, float]:
        seen, wanted, known = (
            torch.from_numpy(space.transform(x.flatten(1).numpy())).float() for x in (images, test, train)
        )
        found, copied = fidelity(seen, wanted), nearest_share(seen, known, wanted)
        numbers = {name: getattr(found, name) for name in ("precision", "recall", "density", "coverage")}
        return numbers | {"nearest_share": copied.value, "nearest_share_error": copied.standard_error}

    rows: list[dict[str, Any]] = [{"draws": "training images", **measured(train[:count])}]
    for noise in NOISE[:2] if record.smoke else NOISE:
        _, means = sample(run.model, torch.zeros(count, *run.data.event_shape), seed=0, **noise)
        (kind, value), *_ = noise.items()
        rows.append({"draws": kind, "value": value, **measured(means)})
        print(rows[-1], flush=True)
    record.figure(drawn(rows))
    record.save(rows=rows, count=count, components=space.n_components_, trained=trained(run))


def drawn(rows: list[dict[str, Any]]) -> Figure:
    """Coverage against precision, a line for each kind of noise, its values beside the points."""
    figure = Figure(figsize=(4.4, 3.2), layout="constrained")
    axes = figure.subplots()
    with lines(axes, "precision", "coverage"):
        for kind, above in (("temperature", 4), ("truncation", -10)):
            own = [row for row in rows if row["draws"] == kind]
            axes.plot([row["precision"] for row in own], [row["coverage"] for row in own], marker="o", ms=3, label=kind)
            for row in own:
                place = row["precision"], row["coverage"]
                axes.annotate(f"{row['value']:g}", place, fontsize=7, xytext=(0, above), textcoords="offset points")
        first = rows[0]
        axes.plot(first["precision"], first["coverage"], marker="*", color="black", ls="", label="training images")
    return figure


if __name__ == "__main__":
    main()
