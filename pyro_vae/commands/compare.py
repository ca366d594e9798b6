"""Compare models on the same data; without run folders, train them first: candidates for some parts, or settings."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from .. import plots
from ..arguments.at_least import at_least
from ..disk.json_files import read_json, write_json
from ..disk.writing import save_figure, write_text
from ..evidence import LogMarginal
from ..evidence import tables as report
from ..evidence.comparison import compare
from ..plots.decoded import images_in
from ..runs.candidates import VARIED, file_name
from ..runs.environment import environment
from ..runs.estimators import ESTIMATORS
from ..runs.evaluations import evaluations_of, load_evaluation
from ..runs.folder import doubts_of, read_about, require_run
from ..runs.grid import candidates_of, require_unfixed, taken_apart
from ..runs.grouping import grouped
from ..runs.jobs import Backend
from ..runs.loading import command_line, data_of, load_run, points_of, random_subset
from ..runs.new_folder import RESULTS, claimed
from ..runs.options import add_trust_option
from ..runs.parser import Parser
from ..runs.parts import short_names
from ..runs.settings import DEFAULT_PARTS, parse_training
from ..training.device import choose_device
from ..uses.generate import reconstruct, sample
from .evaluate import name_of
from .evaluation import add_evaluation_options, parse_evaluation
from .pictures import add_width_option, as_wide_as_asked, like_of, with_doubts
from .train_candidates import Configs, Trained, check, configs_of, run_folder, train_all

# Without run folders: small enough for three seeds of four priors in under three minutes on two cores. Those of train
# are for one model of a data set such as MNIST.
PRIORS = ["StandardNormal", "GaussianMixture", "VampPrior", "CouplingFlow"]
SMALL: dict[str, Any] = {"data": "digits", "latent_dim": 8, "epochs": 60, "batch_size": 64, "kl_warmup": "auto"}
DEFAULTS = {**DEFAULT_PARTS, "network": "MLP"}, {**SMALL, "network.hidden": [128, 128]}
MOST_PAIRS = 10  # on the terminal: of more, the differences to the best


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command; those of the parts depend on the arguments."""
    text = "Evaluated run folders; none to train them now."
    parser.add_argument("runs", metavar="RUN", nargs="*", type=str, help=text)
    add = parser.add_argument_group(
        "what to train when no run is given: candidates for parts, values of settings, the rest fixed",
        "A candidate is NAME or import.path.NAME, with arguments as in GaussianMixture:num_components=50,"
        "covariance=full, else with the defaults of its class. What only works together is joined by a plus: "
        "UniformSphere+VonMisesFisherEncoder, ConvEncoder+ConvDecoder. Several values of a setting are compared, too "
        "(--latent-dim 2 8 32), and of all that is varied each with each. An interrupted comparison goes on where it "
        "stopped when the same command is given again; with one more candidate, value or seed it trains what is "
        "missing. Defaults are for the digits on a laptop, smaller than those of train; settings.yaml of a run holds "
        "all of them.",
    ).add_argument
    for option, part in VARIED.items():
        default = f"; by default {' '.join(PRIORS)}" if option == "priors" else ""
        known = ", ".join(short_names(part))
        add(f"--{option}", nargs="+", type=str, metavar="CANDIDATE", help=f"From {known}{default}.")
    add("--seeds", type=int, default=3, help="Runs of each candidate, with seeds from --seed on.")
    text = "Runs at a time, each in a process with its share of the threads."
    add("--jobs", type=int, default=1, metavar="N", help=text)
    text = (
        "Where they run: on this machine (loky), or on the cluster that Dask or Ray is configured for, if there is one."
    )
    add("--backend", type=Backend, default="loky", metavar="{loky,dask,ray}", help=text)
    add_evaluation_options(parser, arguments, without=["precision"])  # which is that of the training here
    add_width_option(parser)
    add_trust_option(parser)
    own = parser.names()
    words, axes = taken_apart(arguments)
    out = "Folder of the results; by default comparison."
    usual = {} if axes else {"priors": PRIORS}
    require_unfixed(arguments, usual)
    chosen = parse_evaluation(parse_training(parser, words, out=out, defaults=DEFAULTS), words)
    varied = {option: chosen[option] for option in VARIED if chosen[option]} or usual
    chosen.training = Namespace({key: value for key, value in vars(chosen).items() if key not in own})
    chosen.varied, chosen.axes = varied, axes
    chosen.options = [word[2:].partition("=")[0].replace("-", "_") for word in words if word.startswith("--")]
    return chosen


def run(chosen: Namespace) -> None:
    """Compare the runs."""
    started = time.perf_counter()
    if (estimator := ESTIMATORS[chosen.estimator]).kind is not LogMarginal:
        of_one = " or ".join(name for name, each in ESTIMATORS.items() if each.kind is LogMarginal)
        raise ValueError(f"Expected --estimator {of_one} for a comparison; got {estimator.name}.")
    at_least(1, jobs=chosen.jobs)
    out = Path(chosen.out or "comparison")
    if chosen.runs:
        varied, groups = grouped([require_run(name) for name in chosen.runs])
        with claimed(out, "comparison", overwrite=chosen.overwrite) as folder:
            write_comparison(varied, Trained(groups), folder, chosen, started)
        return
    candidates = candidates_of(chosen.varied, chosen.axes)
    configs = configs_of(candidates, chosen.training, seed=chosen.seed, num_seeds=chosen.seeds)
    dataset = check(configs, given=chosen.given)
    with claimed(out, "comparison", overwrite=chosen.overwrite or _grows(out, configs)) as folder:
        trained = train_all(configs, dataset, folder, chosen)
        parts = [VARIED[option] for option in chosen.varied]
        write_comparison(parts[0] if len(parts) == 1 else "model", trained, folder, chosen, started)


def _grows(folder: Path, configs: Configs) -> bool:
    """Whether all runs of the comparison that is there are among these: then its tables are written anew."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        content = read_json(folder / RESULTS["comparison"], kind="comparison")
        before = {Path(run) for runs in content["runs"].values() for run in runs}
        return before <= {run_folder(folder, name, config) for (name, _), config in configs.items()}
    return False


def _evaluations(groups: Mapping[str, list[Path]], chosen: Namespace) -> dict[Path, str]:
    """The evaluation of each run to compare, by its name: of the same data points, and where there are such with the
    same settings; the largest."""
    runs = [run for members in groups.values() for run in members]
    if not chosen.runs:  # just made
        dataset = data_of(runs[0], root=chosen.root)
        evaluation = chosen.clone()
        evaluation.precision = "fp32"
        return dict.fromkeys(runs, name_of(evaluation, dataset))
    asked = {name: chosen[name] for name in ESTIMATORS[chosen.estimator].options if name in chosen.options}
    asked |= {name: chosen[name] for name in ("num_images", "split") if name in chosen.options}
    found: dict[Path, dict[str, dict[str, Any]]] = {}
    for run in runs:
        of_run = {
            name: about
            for name, about in evaluations_of(run).items()
            if about["estimator_settings"]["estimator"] == chosen.estimator
            and asked.items() <= about["estimator_settings"].items()
            and about["estimator_settings"].get("given", []) == chosen.given
        }
        if not of_run:
            others = ", ".join(evaluations_of(run)) or "none at all"
            given = {"given": " ".join(chosen.given)} if chosen.given else {}
            options = "".join(f" --{name.replace('_', '-')} {value}" for name, value in (asked | given).items())
            estimator = "" if chosen.estimator == "auto" else f" --estimator {chosen.estimator}"
            raise FileNotFoundError(
                f"Expected an evaluated run; {run} has no evaluation of --estimator {chosen.estimator}{options}, but "
                f"{others}. Run: pyro-vae evaluate {run}{estimator}{options}"
            )
        found[run] = of_run
    for key in ("images_sha256", "estimator_settings"):  # the second where it can be had: `compare` says where not
        of_all = set.intersection(*({str(about[key]) for about in of_run.values()} for of_run in found.values()))
        if of_all:
            wanted = next(str(a[key]) for a in reversed(found[runs[0]].values()) if str(a[key]) in of_all)
            found = {r: {n: a for n, a in of_run.items() if str(a[key]) == wanted} for r, of_run in found.items()}
        elif key == "images_sha256":
            last = {run: [*of_run.values()][-1] for run, of_run in found.items()}
            inputs = {run: about.get("quantity", "log p(x)") for run, about in last.items()}
            if len(set(inputs.values())) > 1:
                which = "; ".join(f"{run} {quantity}" for run, quantity in inputs.items())
                raise ValueError(
                    f"Expected runs that are called with the same inputs; got different ones: {which}. What is given "
                    f"besides x is part of the data points, which are then others. Compare runs with the same inputs "
                    f"(--inputs)."
                )
            words = {run: about["protocol"] for run, about in last.items()}
            which = "; ".join(f"{run} {w.partition(',')[0]}, {w.rpartition('; ')[2]}" for run, w in words.items())
            raise ValueError(
                f"Expected runs evaluated on the same data; got different ones: {which}. Evaluate all of them with "
                f"the same --data, --binarization, --data-seed, --num-images and --seed."
            )
    return {run: [*of_run][-1] for run, of_run in found.items()}


def write_comparison(varied: str, trained: Trained, folder: Path, chosen: Namespace, started: float) -> None:
    """Compare evaluated runs, given by the names of their models, and write the results into the folder."""
    groups = trained.runs
    names = _evaluations(groups, chosen)
    evaluations = {label: [load_evaluation(run, names[run]) for run in members] for label, members in groups.items()}
    abouts = [about for members in evaluations.values() for _, about in members]
    comparison = compare({label: [result for result, _ in members] for label, members in evaluations.items()})
    protocols = sorted({about["evaluation_protocol"] for about in abouts})
    marked, notes = _doubtful(groups)
    content = {
        **report.comparison_json(comparison),
        "varied": varied,
        "protocol": " and ".join(dict.fromkeys(about["protocol"] for about in abouts)),
        "evaluation_protocol": " and ".join(protocols),
        "likelihood": sorted({about["likelihood"] for about in abouts}),
        "runs": {label: [str(run) for run in members] for label, members in groups.items()},
        "evaluations": {label: [str(run / names[run]) for run in members] for label, members in groups.items()},
        "marked": marked,
        "failed": trained.failed,
        "notes": notes,
        "command": command_line(),
        "seconds": round(time.perf_counter() - started, 1),
        **environment(choose_device("cpu" if chosen.runs else chosen.device)),
    }
    write_text(folder / "comparison.md", report.comparison_markdown(content))
    write_text(folder / "comparison.tex", report.comparison_latex(content))
    title = abouts[0]["protocol"].split(";")[0]
    starred = f"\n* {', '.join(marked)}: not trained as asked for" if marked else ""
    figure = as_wide_as_asked(plots.comparison_figure(comparison, title=f"{title}{starred}"), chosen)
    for kind in ("png", "pdf"):
        save_figure(figure, folder / f"comparison.{kind}")
    write_json(folder / "comparison.json", content, kind="comparison")  # the last: with it the comparison is there
    pages = [path for label, members in groups.items() for path in _page(members[0], folder, label, root=chosen.root)]
    table = report.comparison_table(content, style="simple", most_pairs=MOST_PAIRS)
    print("\n" + table + "\n\n" + "\n".join(report.protocol_lines(content)))
    count = len(comparison.differences)
    pairs = f" (all {count} paired differences)" if count > MOST_PAIRS else ""
    print(f"\nsaved in {folder}: comparison.md{pairs}, .tex, .json, .png and .pdf")
    if pages:
        print(f"       samples and reconstructions in {', '.join(path.name for path in pages)}")
    if not chosen.runs and varied == "prior" and chosen.data == "digits":  # the first look
        print(
            "next   pyro-vae compare --data mnist --download --network GatedMLP --latent-dim 40 --out mnist\n"
            "       the same on MNIST, some hours on a CPU; one run of it is\n"
            "       pyro-vae train --data mnist --download --prior VampPrior"
        )


def _doubtful(groups: Mapping[str, list[Path]]) -> tuple[list[str], list[str]]:
    """The models with runs that were not trained as asked for, and a line about each such run."""
    doubts = {
        label: [f"* {run}: {line}" for run in members for line in doubts_of(read_about(run))]
        for label, members in groups.items()
    }
    return [label for label, lines in doubts.items() if lines], [line for lines in doubts.values() for line in lines]


def _page(folder: Path, out: Path, title: str, *, root: str | None) -> list[Path]:
    """The file of samples beside reconstructions of one run; none for data without pictures."""
    if len(read_about(folder)["event_shape"]) != 3:
        return []
    module, _ = load_run(folder, choose_device("cpu"))
    test = points_of(data_of(folder, root=root), "test")
    images = test[random_subset(len(test), min(32, len(test)), 0)]
    try:
        originals = plots.images_among(images)
        means = images_in(sample(module.model, like_of(folder, 64, seed=0, root=root))[1], originals)
        rows = plots.beside(originals, images_in(reconstruct(module.model, module.guide, images), originals))
    except ValueError as error:  # a model that can be evaluated, not drawn from
        print(f"no pictures of {title}: {error}")
        return []
    panels = {f"{title}: samples": means, "test images, reconstructions below": rows}
    path = out / f"{file_name(title)}.png"
    save_figure(with_doubts(plots.image_panels(panels), folder), path, dpi=300)
    return [path]
