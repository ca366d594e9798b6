"""The journal of a search: Optuna's trials in a file, from which the same search goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..disk.reading import read_whole
from ..disk.writing import saying

FIRST_TRIALS = 5  # whose settings are drawn at random, and which are trained to their end


@contextmanager
def opened(file: Path, about: Mapping[str, Any], *, given: Mapping[str, Any] | None) -> Iterator[Any]:
    """The `optuna.Study` in a file, begun if there is none; trials that were interrupted are taken again.

    Args:
        file: of the journal, a line of JSON for each event; no other process writes to it.
        about: what must be the same for a search to go on: what is searched, and all other settings.
        given: settings to try first.

    Raises:
        ImportError: optuna is not installed.
        ValueError: the file holds the journal of another search, or is damaged.
        OSError: it cannot be written.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
    except ImportError as error:
        raise ImportError('Expected the package optuna; got none. Run pip install "pyro-vae[tune]".') from error
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        try:
            study = optuna.create_study(
                storage=JournalStorage(_Journal(file)),  # type: ignore[arg-type]
                study_name="tune",
                direction="maximize",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=FIRST_TRIALS),
                load_if_exists=True,
            )
            trials = study.trials
        except OSError:
            raise
        except Exception as error:  # whatever a damaged journal makes of Optuna
            raise ValueError(
                f"Expected the journal of a search in {file}; it is damaged: {type(error).__name__}: {error!s:.100}. "
                f"Choose another --out, or remove the file to search anew."
            ) from error
        if changed := [name for name, value in about.items() if study.user_attrs.get(name, value) != value]:
            raise ValueError(
                f"Expected the search that {file} is of, to go on with it; got another {changed[0]}. Choose another "
                f"--out, or give the command of the search as it was."
            )
        for name, value in about.items():
            study.set_user_attr(name, value)
        for trial in trials:
            if trial.state == optuna.trial.TrialState.RUNNING:  # of a process that is gone: drawn again, see `asked`
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        if given is not None and not tried(study) and not study.get_trials(states=[optuna.trial.TrialState.WAITING]):
            study.enqueue_trial(dict(given))
        yield study
    finally:
        optuna.logging.set_verbosity(before)


def asked(study: Any, *, seed: int) -> Any:
    """The next trial; its settings depend on the seed and on the trials before, and not on interruptions."""
    from optuna.samplers import TPESampler

    study.sampler = TPESampler(seed=1000 * seed + len(tried(study)), n_startup_trials=FIRST_TRIALS)
    return study.ask()


def tried(study: Any) -> list[Any]:
    """The trials that were not interrupted: those that were trained to the end, stopped early, or refused."""
    return [t for t in study.trials if (found := t.user_attrs.get("outcome")) is not None and t.state == _state(found)]


def told(study: Any, trial: Any, outcome: str, value: float | None) -> None:
    """Record a trial: "trained", "stopped early", or why it failed."""
    trial.set_user_attr("outcome", outcome)
    study.tell(trial, value if outcome == "trained" else None, state=_state(outcome))


def _state(outcome: str) -> Any:
    """That of a trial with this outcome; one that was interrupted while it was told has another."""
    from optuna.trial import TrialState

    return {"trained": TrialState.COMPLETE, "stopped early": TrialState.PRUNED}.get(outcome, TrialState.FAIL)


def best_of(trials: Sequence[Any]) -> Any:
    """The trial with the highest value of those that were trained to the end."""
    trained = [trial for trial in trials if trial.user_attrs["outcome"] == "trained"]
    if not trained:
        reasons = {trial.user_attrs["outcome"] for trial in trials}
        raise ValueError(f"Expected a trial that can be trained; got none among {len(trials)}: {'; '.join(reasons)}.")
    return max(trained, key=lambda trial: trial.value)


class _Journal:
    """A backend of Optuna's storage for one process, which holds the lock of the folder.

    Optuna's own has a lock that a killed process leaves behind, for which the next one waits, and appends to half a
    line.
    """

    def __init__(self, file: Path) -> None:
        content = read_whole(file, limit=None) if file.exists() else b""
        self.file, self.size = file, content.rfind(b"\n") + 1  # what follows was being written: it is written over
        self.events: list[dict[str, Any]] = [json.loads(line) for line in content[: self.size].splitlines()]

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        return self.events[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = [json.dumps(log, separators=(",", ":")) for log in logs]
        with saying(self.file), self.file.open("ab") as file:
            file.truncate(self.size)
            file.write("".join(f"{line}\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())
            self.size = file.tell()
        self.events += map(json.loads, lines)
