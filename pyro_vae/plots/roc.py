"""The figure of anomaly scores: ROC curves, and -log p(x) of normal data and anomalies."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from ..uses.detection import Detection
from .charts import BLUE, GREY, LABEL_SIZE, PAGE, RED, finished

BINS = 50
WORDS = {"negative_log_prob": "-log p(x)", "negative_elbo": "-ELBO", "negative_waic": "-WAIC"}
TAIL = 0.005  # of both ends, left out of the histogram: one wild data point would squeeze all others


def roc_figure(
    found: Mapping[str, Detection], scores: Tensor, anomalous: Tensor, *, label: str, title: str = ""
) -> Figure:
    """ROC curves of several scores with their AUC, and the histogram of one score for normal data and for anomalies.

    Args:
        found: what `detect` gives.
        scores: of the histogram (N,).
        anomalous: which are anomalies (N,).
        label: what that score is called.
        title: of the figure.
    """
    figure = Figure(figsize=(PAGE, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    for i, (name, each) in enumerate(found.items()):
        text = f"{WORDS.get(name, name.replace('_', ' '))}, {each.auc.value:.3f}"
        curve = each.false_positive_rate, each.true_positive_rate
        left.plot(*curve, color=colormaps["tab10"](i), linewidth=1.2, label=text)
    left.set(xlabel="false alarms among normal data", ylabel="anomalies found", aspect="equal")
    place = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
    small = {"fontsize": LABEL_SIZE - 1, "title_fontsize": LABEL_SIZE - 1}
    left.legend(frameon=False, title="score, AUC", alignment="left", handlelength=1.2, **place, **small)
    values, mask = scores.double().cpu().numpy(), anomalous.cpu().numpy().astype(bool)
    edges = np.histogram_bin_edges(values, BINS, range=tuple(np.quantile(values, [TAIL, 1 - TAIL])))
    for kind, colour, name in ((False, BLUE, "normal"), (True, RED, "anomalies")):
        group = values[mask == kind]
        right.hist(group, edges, density=True, color=colour, alpha=0.5, label=f"{name}, {len(group):,}")
    right.set(xlabel=label, yticks=[])
    right.legend(frameon=False, fontsize=LABEL_SIZE - 1)
    return finished(figure, title)
