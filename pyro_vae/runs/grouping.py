"""Run folders of the same model, which differ by seed alone, under one name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .candidates import VARIED
from .loading import read_run
from .parts import PARTS

# Settings that do not make another model.
IGNORED = {"seed", "root", "device", "out", "overwrite", "download", "config", "tensorboard", "compile"}


def grouped(trained: Sequence[Path]) -> tuple[str, dict[str, list[Path]]]:
    """What the runs differ in (such as "prior"), and those that differ by seed alone under one name.

    Raises:
        ValueError: the same run twice, under one folder or two: it would be counted as two seeds.
    """
    groups: dict[tuple[str, ...], list[Path]] = {}
    flats: dict[tuple[str, ...], dict[str, str]] = {}
    seen: dict[tuple[str, ...], Path] = {}
    for run in trained:
        config = read_run(run)[0]
        flat = {key: str(value) for key, value in vars(config.as_flat()).items() if key not in IGNORED}
        key = tuple(f"{name}={value}" for name, value in sorted(flat.items()))
        if (other := seen.setdefault((*key, f"seed={config.seed}"), run)) is not run or trained.count(run) > 1:
            raise ValueError(
                f"Expected different runs; {run} and {other} have the same settings and seed. Give one of them."
            )
        groups.setdefault(key, []).append(run)
        flats[key] = flat
    names = {key: _class_names(flat) for key, flat in flats.items()}
    shared = [part for part in PARTS if all(part in name for name in names.values())]
    parts = [part for part in shared if len({name[part] for name in names.values()}) > 1]
    if set(parts) == {"network", "decoder"} and all(name["network"] == name["decoder"] for name in names.values()):
        parts = ["network"]
    parts = parts or ["prior" if "prior" in shared else "model"]
    labels = {key: "-".join(name[part] for part in parts) for key, name in names.items()}
    for label in {label for label in labels.values() if [*labels.values()].count(label) > 1}:
        same = [key for key in labels if labels[key] == label]  # these classes differ in settings: say which
        differing = [s for s in flats[same[0]] if len({flats[key].get(s) for key in same}) > 1]
        for key in same:
            settings_of = ",".join(f"{s.rpartition('.')[2]}={flats[key].get(s)}" for s in differing)
            labels[key] = f"{label}:{settings_of.replace(' ', '')}"
    kind = parts[0] if len(parts) == 1 and parts[0] in VARIED.values() else "model"
    return kind, {labels[key]: members for key, members in groups.items()}


def _class_names(flat: Mapping[str, str]) -> dict[str, str]:
    """The class of each part, without where it is imported from."""
    names = {part: name.rpartition(".")[2] for part in PARTS if (name := flat.get(f"{part}.class_path"))}
    return {"decoder": names["network"], **names} if "network" in names else names  # as it is built
