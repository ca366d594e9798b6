"""How many evaluations of the model an estimate will take in all, told to its progress bar."""

from __future__ import annotations

from ..output.progress import Progress, expect

MORE = 1.25  # factor by which a number of evaluations that was not enough is raised


class Foreseen:
    """Passes on to a bar what is done, and how much there will be to do, by what data points took so far.

    Args:
        bar: of evaluations of the model.
        count: data points.
        total: evaluations that they are expected to take; None where nothing is known beforehand.
    """

    def __init__(self, bar: Progress, count: int, total: float | None) -> None:
        self.bar, self.count, self.total, self.spent = bar, count, total, 0.0

    def update(self, n: float) -> None:
        """So many evaluations more are done."""
        self.spent += n
        if self.total is not None and self.spent > self.total:
            self._expect(MORE * self.spent)
        self.bar.update(n)

    def finished(self, points: int) -> None:
        """So many data points are finished: the others are expected to take as much each."""
        self._expect(self.spent * self.count / points)

    def _expect(self, total: float) -> None:
        self.total = total
        expect(self.bar, round(total))
