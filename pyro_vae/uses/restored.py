"""Restored data: samples of each, and how well the chains went that they come from."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ..evidence.words import data_points
from ..output.frames import html


@dataclass(frozen=True)
class Restoration:
    """Result of `restore`. Tensors are on the CPU.

    Attributes:
        samples: E[x|z_s, y] for draws z_s of the posterior (N, S, ...): they differ where y leaves x open.
        ess: effective sample size of the importance weights that the chains started from, of ``num_proposals`` (N,).
        acceptance: mean acceptance of the last half of the transitions (N,); nan without any.
        num_proposals, num_transitions: draws of the guide, and Hamiltonian transitions of each chain.
    """

    samples: Tensor = field(repr=False)
    ess: Tensor
    acceptance: Tensor
    num_proposals: int
    num_transitions: int

    @property
    def mean(self) -> Tensor:
        """Mean of the samples (N, ...): the estimate of x with the smallest squared error."""
        return self.samples.mean(1)

    @property
    def spread(self) -> Tensor:
        """Standard deviation of the samples (N, ...): where y leaves x open; nan of one sample."""
        return self.samples.std(1)

    @property
    def from_one_draw(self) -> Tensor:
        """Whether one draw of the guide has nearly all the weight, an effective sample size below 2 (N,), bool: all
        chains begin there, and another way to fill what is missing is hardly found."""
        return self.ess < 2

    def _repr_html_(self) -> str:
        return html("restored data", self._rows())

    def __repr__(self) -> str:
        return "\n".join(f"{name:<22}{text}" for name, text in self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        ess, acceptance = ([f"{v:.2f}" for v in (x.min(), x.median(), x.max())] for x in (self.ess, self.acceptance))
        count, samples = self.samples.shape[:2]
        doubtful = int(self.from_one_draw.sum())
        doubt = f"{doubtful:,} of {data_points(count)}, whose samples may be too much alike. Give more proposals"
        return [
            ("restored", f"{data_points(count)}, {samples} samples each"),
            ("effective sample size", f"from {ess[0]} to {ess[2]}, median {ess[1]}, of {self.num_proposals:,} draws"),
            ("acceptance", f"from {acceptance[0]} to {acceptance[2]}, of {self.num_transitions:,} transitions"),
            *([("begun at one draw", doubt)] if doubtful else []),
        ]
