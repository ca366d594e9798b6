"""The report of `evaluate --bracket`: bounds from both sides on simulated data, beside an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..evidence import bracket
from ..plots.evidence import bracket_figure
from ..runs.environment import few_threads
from ..runs.folder import title_of
from .pictures import save_result

SIMULATED = 32  # data points


def report_bracket(folder: Path, module: Any, like: Tensor, *, device: torch.device, seed: int) -> None:
    """Bracket log p(x) of data simulated from a run's model; say, save and draw it."""
    like = like[:1].expand(SIMULATED, *like.shape[1:]).to(device)  # their shape: the values do not count
    with few_threads(module):
        found = bracket(module.model, module.guide, like, seed=seed, progress=True)
    gap = found.worst_gap
    print(
        f"bracket on data simulated from the model, where the posterior can be drawn exactly: upper bounds exist for\n"
        f"       them alone, not for real data\n\n{found}\n\n"
        f"On such data the default estimate is, in expectation, at most {gap.value:.3f} +- {gap.standard_error:.3f} "
        f"nats too low."
    )
    chains = found.forward
    settings = {
        "seed": seed,
        "num_samples": int(found.lower.num_samples.max()),
        "num_chains": int(chains.num_samples.max()),
        "num_temperatures": chains.details["step_size"].shape[1] + 1,
    }
    about = {"protocol": f"{SIMULATED} data points simulated from the model (seed {seed})", "settings": settings}
    figure = bracket_figure(found, title=title_of(folder))
    save_result(folder, "bracket", found, figure, kind="Bracket", about=about, module=module, device=device)
