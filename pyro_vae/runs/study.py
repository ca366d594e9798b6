"""The journal of a search: Optuna's trials in a file, from which the same search goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FIRST_TRIALS = 5  # whose settings are drawn at random, and which are trained to their end


@contextmanager
def opened(file: Path, about: Mapping[str, Any], *, given: Mapping[str, Any] | None) -> Iterator[Any]:
    """The `optuna.Study` in a file, begun if there is none; trials that were interrupted wait to be taken again.

    Args:
        file: of the journal, a line of JSON for each event.
        about: what must be the same for a search to go on: what is searched, and all other settings.
        given: settings to try first.

    Raises:
        ImportError: optuna is not installed.
        ValueError: the file holds the journal of another search.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise ImportError('Expected the package optuna; got none. Run pip install "pyro-vae[tune]".') from error
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(file))),
            study_name="tune",
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=FIRST_TRIALS),
            load_if_exists=True,
        )
        if changed := [name for name, value in about.items() if study.user_attrs.get(name, value) != value]:
            raise ValueError(
                f"Expected the search that {file} is of, to go on with it; got another {changed[0]}. Choose another "
                f"--out, or give the command of the search as it was."
            )
        if not study.trials and given is not None:
            study.enqueue_trial(dict(given))
        for name, value in about.items():
            study.set_user_attr(name, value)
        for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):  # of a process that is gone
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(trial.params)
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
    return [trial for trial in study.trials if trial.state.is_finished() and "outcome" in trial.user_attrs]


def told(study: Any, trial: Any, outcome: str, value: float | None) -> None:
    """Record a trial: "trained", "stopped early", or why it failed."""
    from optuna.trial import TrialState

    trial.set_user_attr("outcome", outcome)
    states = {"trained": TrialState.COMPLETE, "stopped early": TrialState.PRUNED}
    state = states.get(outcome, TrialState.FAIL)
    study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)


def best_of(trials: Sequence[Any]) -> Any:
    """The trial with the highest value of those that were trained to the end.

    Raises:
        ValueError: there is none.
    """
    trained = [trial for trial in trials if trial.user_attrs["outcome"] == "trained"]
    if not trained:
        reasons = {trial.user_attrs["outcome"] for trial in trials}
        raise ValueError(f"Expected a trial that can be trained; got none among {len(trials)}: {'; '.join(reasons)}.")
    return max(trained, key=lambda trial: trial.value)
