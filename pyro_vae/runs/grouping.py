"""Run folders of the same model, which differ by seed alone, under one name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .candidates import VARIED
from .loading import read_run
from .parts import PARTS

Key = tuple[str, ...]  # all settings of a model, each as NAME=VALUE

# Settings that do not make another model.
IGNORED = {"seed", "root", "device", "out", "overwrite", "download", "config", "tensorboard", "compile", "log_level"}


def grouped(trained: Sequence[Path]) -> tuple[str, dict[str, list[Path]]]:
    """What the runs differ in (such as "prior"), and those that differ by seed alone under one name.

    Raises:
        ValueError: the same run twice, under one folder or two: it would be counted as two seeds.
    """
    groups: dict[Key, list[Path]] = {}
    flats: dict[Key, dict[str, str]] = {}
    seen: dict[Key, Path] = {}
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
    every = [part for part in PARTS if all(part in name for name in names.values())]
    parts = [part for part in every if len({name[part] for name in names.values()}) > 1]
    if set(parts) == {"network", "decoder"} and all(name["network"] == name["decoder"] for name in names.values()):
        parts = ["network"]
    kind = parts[0] if len(parts) == 1 and parts[0] in VARIED.values() else "model"
    if not parts:
        parts, kind = ["prior" if "prior" in every else "model"], "prior" if "prior" in every else "model"
    if "prior" not in every:  # an own model may have one, which says more than the name of its class
        parts = [*parts, "prior"]
    labels = {
        key: " ".join(["-".join(name[part] for part in parts if part in name), *_settings(key, flats, names)])
        for key, name in names.items()
    }
    return kind, {labels[key]: members for key, members in groups.items()}


def _settings(key: Key, flats: Mapping[Key, dict[str, str]], names: Mapping[Key, dict[str, str]]) -> list[str]:
    """The settings that tell a model apart from others with the same classes, or are settings of all runs."""
    found = []
    for setting, value in flats[key].items():
        part, dot, option = setting.partition(".init_args.")
        if setting.endswith(".class_path"):
            continue
        like = [other for other in flats if not dot or names[other].get(part) == names[key].get(part)]
        if len({flats[other].get(setting) for other in like}) > 1:
            found.append(f"{f'{part}.{option}' if dot else setting}={value.replace(' ', '')}")
    return found


def _class_names(flat: Mapping[str, str]) -> dict[str, str]:
    """The class of each part, without where it is imported from."""
    names = {part: name.rpartition(".")[2] for part in PARTS if (name := flat.get(f"{part}.class_path"))}
    return {"decoder": names["network"], **names} if "network" in names else names  # as it is built
