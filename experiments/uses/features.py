"""What are codes worth as features? python experiments/uses/features.py RUN

A linear classifier and nearest neighbours that see few labels or all, and clusters without any: on codes of a trained
encoder, of the same encoder before training, on as many principal components, and on the pixels themselves. The
pictures lay the test data out in the plane by t-SNE.
"""

from __future__ import annotations

import copy
import statistics
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from record import Record, trained
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import normalized_mutual_info_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from pyro_vae import LatentFeatures, plots

LABELS = (100, 1000, None)  # None: all
DRAWS = 5  # of the few labels
PICTURED = 3000  # test data points


def main() -> None:
    """Encode, classify, cluster, draw."""
    record = Record("features", __doc__.splitlines()[0], run=True)
    run = record.run()
    splits, labels = run.data.splits, run.data.labels
    x = {part: getattr(splits, part).flatten(1).numpy() for part in ("train", "test")}
    if run.data.batch_transform is not None:  # binarized as in training, once
        torch.manual_seed(0)
        x["train"] = run.data.batch_transform(splits.train).flatten(1).numpy()
    y = {part: getattr(labels, part).numpy() for part in ("train", "test")}
    features = LatentFeatures(run).fit(x["train"])
    dim = len(features.feature_names_)
    makers = {
        f"codes, {dim}": features,
        f"codes before training, {dim}": LatentFeatures(untrained(run.module)),
        f"principal components, {dim}": PCA(dim, random_state=0),
        f"pixels, {x['train'].shape[1]}": FunctionTransformer(),
    }
    rows, pictured = [], {}
    for name, maker in makers.items():
        seen = {"train": maker.fit_transform(x["train"])}
        seen["test"] = maker.transform(x["test"])
        rows.append({"features": name, **classified(seen, y, smoke=record.smoke), "nmi": clustered(seen["test"], y)})
        print(rows[-1], flush=True)
        if "before" not in name and "components" not in name:
            few = slice(200 if record.smoke else PICTURED)
            pictured[name] = TSNE(random_state=0).fit_transform(seen["test"][few]), y["test"][few]
    record.figure(laid_out(pictured))
    about = {"num_train": len(x["train"]), "num_test": len(x["test"]), "draws": DRAWS, "pictured": PICTURED}
    record.save(rows=rows, trained=trained(run), **about)


def untrained(module: Any) -> Any:
    """The pair before it knew anything: its layers with torch's own first weights."""
    fresh = copy.deepcopy(module)
    torch.manual_seed(1)
    for part in fresh.modules():
        if callable(reset := getattr(part, "reset_parameters", None)):
            reset()
    return fresh


def classified(seen: dict[str, np.ndarray], y: dict[str, np.ndarray], *, smoke: bool) -> dict[str, Any]:
    """Test accuracy of both classifiers by number of labels, mean and standard deviation over draws of the labelled."""
    makers = {
        "linear": lambda: make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300, tol=1e-3)),
        "nearest": lambda: KNeighborsClassifier(5, algorithm="brute"),
    }
    found: dict[str, Any] = {}
    for count in LABELS[:1] if smoke else LABELS:
        draws = [torch.randperm(len(y["train"]), generator=torch.Generator().manual_seed(s)) for s in range(DRAWS)]
        chosen = [slice(None)] if count is None else [draw[:count].numpy() for draw in draws]
        for kind, make in makers.items():
            models = [make().fit(seen["train"][rows], y["train"][rows]) for rows in chosen]
            scores = [float(model.score(seen["test"], y["test"])) for model in models]
            spread = statistics.stdev(scores) if len(scores) > 1 else None
            found[f"{kind}_{count or 'all'}"] = {"accuracy": statistics.mean(scores), "standard_deviation": spread}
    return found


def clustered(codes: np.ndarray, y: dict[str, np.ndarray]) -> float:
    """Normalized mutual information of the classes with as many clusters of the test data."""
    clusters = KMeans(len(np.unique(y["test"])), n_init=10, random_state=0).fit_predict(codes)
    return float(normalized_mutual_info_score(y["test"], clusters))


def laid_out(pictured: dict[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Points in the plane by class, a panel for each kind of features."""
    figure = Figure(figsize=(6.9, 3.3), layout="constrained")
    panels = figure.subplots(1, len(pictured))
    for axes, (name, (places, classes)) in zip(panels, pictured.items(), strict=True):
        for label in np.unique(classes):
            of_class = places[classes == label]
            axes.scatter(*of_class.T, s=2, linewidths=0, color=f"C{label}", label=str(label))
        axes.set_title(f"t-SNE of {name}", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        plots.tidy(axes)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", markerscale=4, fontsize=8, frameon=False)
    return figure


if __name__ == "__main__":
    main()
