"""Write the tables of the README, docs and experiments anew from the results: python experiments/readme_tables.py"""

import functools
import inspect
import itertools
import json
import math
import re
import statistics
from pathlib import Path
from typing import Any

from tabulate import tabulate

from pyro_vae import encoders, likelihoods, models, networks, priors

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results"
NOT_YET = "Not run yet."


def value(run: dict[str, Any], name: str) -> Any:
    """A number of an evaluation; older files say image where a data point is meant."""
    return run[name] if name in run else run[name.replace("data_point", "image")]


def static_mnist_table() -> str:
    """log p(x) of runs on static MNIST, from the evaluation of each."""
    rows = []
    for path in sorted(RESULTS.glob("static_mnist_*.json")):
        run = json.loads(path.read_text())
        rows.append(
            [
                path.stem.removeprefix("static_mnist_").replace("_", " "),
                f"{value(run, 'log_marginal_nats_per_data_point'):.2f}",
                f"{value(run, 'standard_error_over_data_points'):.2f}",
                f"{run['monte_carlo_error']:.3f}",
                f"{run['num_samples']:,} x {value(run, 'num_data_points'):,}",
                f"{run['median_ess']:.1f}, {value(run, 'data_points_with_ess_below_10'):,} images below 10",
            ]
        )
    headers = ["prior", "log p(x), nats", "SE over images", "Monte Carlo SE", "samples x images", "median ESS"]
    training = run["training"]
    about = (
        f"Data: {run['protocol']}. Trained with `{training['command']}`: {training['epochs']} epochs in "
        f"{training['seconds'] / 60:.0f} minutes on {training['device']} ({training['threads']} threads). Evaluated "
        f"with `{run['command']}`, {run['date']}."
    )
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + f"\n\n{about}"


def step_time_table(name: str) -> str:
    """Milliseconds of a training step by method and case, fp32 and bf16."""
    if not (path := RESULTS / f"{name}.json").exists():
        return NOT_YET
    result = json.loads(path.read_text())
    cases: dict[str, dict[str, str]] = {}
    for row in result["rows"]:
        case = f"{row['network']}, {row['prior']}, batch {row['batch_size']}"
        shown = f"{row['milliseconds']:.2f}" if "milliseconds" in row else row["missing"]
        cases.setdefault(row["method"], {})[case] = shown
    headers = list(dict.fromkeys(case for columns in cases.values() for case in columns))
    rows = [[method, *[columns.get(case, "") for case in headers]] for method, columns in cases.items()]
    rates = ", ".join(f"{rate / 1e12:.2f} TFLOP/s in {name}" for name, rate in result["product_rate"].items())
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    about = (
        f"Milliseconds a step, medians of alternating repetitions in one run. {result['device']}, {result['threads']} "
        f"threads, matrix products at {rates}; {versions}; {result['date']}. `{result['command']}`"
    )
    return tabulate(rows, ["method", *headers], tablefmt="github", disable_numparse=True) + f"\n\n{about}"


def evidence_time_table(name: str) -> str:
    """Nanoseconds for each image and sample by method."""
    if not (path := RESULTS / f"{name}.json").exists():
        return NOT_YET
    result = json.loads(path.read_text())
    rows = []
    for row in result["rows"]:
        if "missing" in row:
            rows.append([row["method"], row["missing"], "", "", "", ""])
            continue
        bias = f"{row['bias_nats']:.4f} +- {row['bias_standard_error']:.4f}" if "bias_nats" in row else ""
        peak = "" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}"
        share = f"{100 * row['share_of_product_rate']:.0f}%" if "share_of_product_rate" in row else ""
        rows.append([row["method"], f"{row['nanoseconds']:,.0f}", share, peak, f"{row['log_marginal']:.3f}", bias])
    headers = [
        "method",
        "ns per image and sample",
        "share of fp32 product rate",
        "peak, MiB",
        "mean log p(x), nats",
        "bias of bf16, nats",
    ]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\n{result['num_images']:,} images, {result['num_samples']:,} samples each; {result['device']}, "
        f"{result['threads']} threads, {result['date']}. `{result['command']}`"
    )


def streaming_table() -> str:
    """Memory that training takes on data larger than it."""
    result = json.loads((RESULTS / "streaming.json").read_text())
    rows = [
        [row["method"], f"{row['data']:,}", f"{row['mebibytes']:,.0f}", ", ".join(f"{x:.4f}" for x in row["losses"])]
        for row in result["rows"]
    ]
    headers = ["method", "data, MiB", "memory needed, MiB", "loss of each epoch"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\nAllowed: {result['rows'][0]['allowed']} MiB. {source(result)}"
    )


def growth_table() -> str:
    """Milliseconds by what is doubled, and how much each doubling costs."""
    if not (path := RESULTS / "growth.json").exists():
        return "How cost grows: not run yet."
    result = json.loads(path.read_text())
    groups = itertools.groupby(result["rows"], key=lambda row: row["method"])
    rows = []
    for method, members in groups:
        counts, seconds = zip(*((row["count"], min(row["seconds"])) for row in members), strict=True)
        factors = " ".join(f"{after / before:.2f}" for before, after in itertools.pairwise(seconds))
        milliseconds = [f"{1e3 * value:,.1f}" for value in (seconds[0], seconds[-1])]
        rows.append([method, f"{counts[0]:,} to {counts[-1]:,}", " to ".join(milliseconds), factors])
    headers = ["what is doubled, what is timed", "count", "ms", "each doubling costs, times the one before"]
    about = f"Best of {len(result['rows'][0]['seconds'])} repetitions. {_made_on(result)}"
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + f"\n\n{about}"


def whole_run_table() -> str:
    """Seconds of a whole run by method."""
    if not (path := RESULTS / "whole_run.json").exists():
        return "Whole training runs: not run yet."
    result = json.loads(path.read_text())
    rows = []
    for row in result["rows"]:
        seconds = [f"{value:.1f}" for value in sorted(row["seconds"])] if "missing" not in row else []
        median = f"{statistics.median(row['seconds']):.1f}" if seconds else row["missing"]
        rows.append([row["method"], median, f"{seconds[0]} to {seconds[-1]}" if seconds else ""])
    headers = ["method", f"seconds for {result['epochs']} epochs of {result['data']}, median", "from, to"]
    about = f"Imports, reading and compiling included. {_made_on(result)}"
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + f"\n\n{about}"


def _made_on(result: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return f"{result['device']}, {result['threads']} threads; {versions}; {result['date']}. `{result['command']}`"


AUTOENCODERS = (  # in the order of a textbook
    "autoencoder",
    "shallow_autoencoder",
    "linear_models",
    "denoising_autoencoder",
    "dropout_autoencoder",
    "adversarial_autoencoder",
    "vae_fashion",
    "vae_two_latents",
    "vae_many_latents",
    "vae_convolutional",
    "likelihoods",
    "beta",
    "two_stages",
)


def autoencoders_table() -> str:
    """All models of the autoencoder family, one row each."""
    results = [
        json.loads((ROOT / f"experiments/autoencoders/results/{name}.json").read_text()) for name in AUTOENCODERS
    ]
    rows = []
    for result in results:
        for row in result["rows"]:
            evidence = row.get("log_marginal")
            images = {"none": "grey", "dynamic": "binarized", "threshold": "thresholded"}[row["binarization"]]
            rows.append(
                [
                    row["model"],
                    f"{row['data'].replace('_mnist', '').replace('mnist', 'digits')}, {images}",
                    row.get("epochs", "-"),
                    f"{row['squared_error']:.4f}",
                    f"{row['psnr']:.1f}",
                    f"{row['ssim']:.3f}",
                    *("-" if row[key] is None else f"{row[key]:.2f}" for key in FRECHET),
                    f"{row['test_elbo']:.1f}" if evidence else "-",
                    f"{evidence['mean']:.1f} +- {evidence['standard_error']:.1f}" if evidence else "-",
                    f"{row['parameters']:,}",
                    f"{row['seconds']:.0f}",
                ]
            )
    headers = ["model", "images", "epochs", "squared error", "PSNR", "SSIM", "Frechet, rec.", "Frechet, samples"]
    headers += ["test ELBO", "log p(x)", "parameters", "seconds"]
    accuracy = {
        row["data"]: result["numbers"]["classifier_test_accuracy"] for result in results for row in result["rows"]
    }
    estimates = [row["log_marginal"] for result in results for row in result["rows"] if row.get("log_marginal")]
    dates = [result["date"] for result in results]
    some, ess = estimates[0], [one["median_ess"] for one in estimates]
    about = (
        "Squared error per pixel, PSNR (dB) and SSIM of the reconstruction (p(x|z)'s mean at the mean code) of each of "
        "10,000 test images, against the grey image whatever the encoder saw. Frechet distance in the feature space of "
        f"a small classifier trained here (not the FID; its test accuracy: digits {accuracy['mnist']:.1%}, fashion "
        f"{accuracy['fashion_mnist']:.1%}), of reconstructions and of 10,000 prior samples. Test ELBO and log p(x) in "
        f"nats per image, log p(x) by importance sampling with {some['num_samples']} samples for a random "
        f"{some['num_images']:,} test images (+- standard error over images), on average a lower bound: the "
        f"median effective sample size of the images is {min(ess):.0f} to {max(ess):.0f}, by row; only rows with the "
        "same images, and likelihoods of the same kind, can be compared. A dash: the model has none. Seconds of "
        f"training, compiling included, on one thread of a machine shared with other work. {results[0]['device']}, "
        f"torch {results[0]['versions']['torch']}, pyro-ppl {results[0]['versions']['pyro-ppl']}, "
        f"{min(dates)} to {max(dates)}."
    )
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + f"\n\n{about}"


def autoencoder_numbers() -> str:
    """What the experiments with autoencoders counted beside the rows of their table."""
    names = ("beta", "vae_many_latents", "vae_convolutional", "adversarial_autoencoder")
    files = (ROOT / f"experiments/autoencoders/results/{name}.json" for name in names)
    beta, many, convolutional, adversarial = (json.loads(file.read_text())["numbers"] for file in files)
    rows = [
        [f"beta {weight:g}: rate, distortion, nats", f"{rate:.1f}, {distortion:.1f}"]
        for weight, rate, distortion in zip(*(beta[name] for name in ("betas", "rates", "distortions")), strict=True)
    ]
    rows.append(["active latents of VAE 100", many["active_latents"]])
    elbo = convolutional["test_elbo_by_epoch"]
    rows += [[f"test ELBO of the convolutional VAE after epoch {n}", f"{elbo[n - 1]:.1f}"] for n in (1, 5, len(elbo))]
    ending = ", losses by epoch"
    for name, losses in ((name, losses) for name, losses in adversarial.items() if name.endswith(ending)):
        rows.append([f"discriminator at the end, {name.removesuffix(ending)}", f"{losses['discriminator'][-1]:.2f}"])
    rows.append(["discriminator that guesses, 2 log 2", f"{2 * math.log(2):.2f}"])
    return tabulate(rows, ["what", "value"], tablefmt="github", disable_numparse=True)


FRECHET = ("frechet_reconstructions", "frechet_samples")


def source(result: dict[str, Any]) -> str:
    """Where the numbers of a study come from."""
    return f"{result['device']}, {result['threads']} thread, {result['date']}. `{result['command']}`"


def anomalies_table(name: str) -> str:
    """The area under the ROC curve of each score, for each kind of anomalies."""
    if not (path := RESULTS / f"{name}.json").exists():
        return NOT_YET
    result = json.loads(path.read_text())
    protocols = "; ".join(f"{name}: {protocol}" for name, protocol in result["protocols"].items())
    scored = result["sizes"].get("scored", result["sizes"]["test"])
    about = (
        f"Area under the ROC curve, 95% bootstrap interval over {scored} normal test images and as many anomalies, or "
        f"all there are. Trained on {result['sizes']['train']:,} images at most. {protocols}. "
        f"{result['core_seconds'] / 60:.0f} minutes of one core. {source(result)}"
    )
    found = {row["anomalies"]: row["detection"] for row in result["rows"]}
    return f"{areas_by_case(found)}\n\n{about}"


def areas_by_case(found: dict[str, Any]) -> str:
    """A row for each score, a column for each case."""
    rows = []
    for score in next(iter(found.values())):
        areas = [detection[score]["auc"] for detection in found.values()]
        shown = [f"{area['value']:.2f} [{area['low']:.2f}, {area['high']:.2f}]" for area in areas]
        rows.append([score.replace("negative_", "-").replace("log_prob", "log p(x)").replace("_", " "), *shown])
    return tabulate(rows, ["score", *found], tablefmt="github", disable_numparse=True)


def agreement_table() -> str:
    """Estimates of log p(x) against the truth, in their own standard errors."""
    result = json.loads((RESULTS / "evidence_agreement.json").read_text())
    rows = [
        [
            row["method"],
            f"{row['num_images']:,} x {row['num_samples']:,}",
            f"{row['largest_deviation']:.1f} ({row['expected_largest']:.1f}; {row['largest_in_99%']:.1f})",
            f"{row['rms_deviation']:.2f} ({row['expected_rms']:.2f})",
            f"{row['share_within_1.96']:.1%} ({row['expected_share']:.1%})",
            f"{row['mean_error']:+.4f} +- {row['mean_error_standard_error']:.4f}",
            f"{row['mean_standard_error']:.3f}",
            f"{row['core_seconds']:.0f}",
        ]
        for row in result["rows"]
    ]
    headers = [
        "estimator",
        "images x samples or chains",
        "largest z, absolute (median; 99% quantile)",
        "rms of z (expected)",
        "share of z within 1.96 (expected)",
        "mean error, nats",
        "mean SE, nats",
        "core seconds",
    ]
    steps = " and ".join(
        f"{chosen['num_temperatures']} from the {name}" for name, chosen in result["annealing"].items()
    )
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\nz = error / standard error of the image; in parentheses what Student's t gives, with one degree of "
        f"freedom less than samples or chains, for as many images. {result['latent_dim']} latents; guide: the "
        f"posterior, scale x {result['guide_scale']}; temperatures: {steps}. Core seconds of a bound are those of "
        f"both. "
        f"{source(result)}"
    )


def coverage_table() -> str:
    """How often nominal 95% intervals hold the truth, by guide."""
    result = json.loads((RESULTS / "evidence_coverage.json").read_text())
    rows = [
        [
            row["guide"],
            f"{row['num_samples']:,}",
            f"{row['coverage']:.1%} +- {row['coverage_standard_error']:.1%}",
            f"{row['mean_khat']:.2f}",
            f"{row['share_with_khat_above_0.7']:.0%}",
            f"{row['median_ess']:,.0f}",
            f"{row['bias']:+.4f} +- {row['bias_standard_error']:.4f}",
            f"{row['mean_standard_error']:.3f} / {row['true_standard_error']:.3f}",
        ]
        for row in sorted(result["rows"], key=lambda row: row["num_samples"])
    ]
    headers = [
        "guide",
        "samples",
        "coverage",
        "mean k-hat",
        "k-hat > 0.7",
        "median ESS",
        "bias, nats",
        "SE: reported / true",
    ]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\n{result['rows'][0]['repetitions']:,} repetitions each. {source(result)}"
    )


def annealed_table() -> str:
    """Annealing from the prior against importance sampling from poor guides."""
    result = json.loads((RESULTS / "evidence_annealed.json").read_text())
    rows = [
        [
            row["method"],
            row["guide"],
            f"{row['num_samples']:,}",
            f"{row['rms_error']:.3f}",
            f"{row['mean_error']:+.3f}",
            f"{row['mean_standard_error']:.3f}",
            f"{row['share_with_khat_above_0.7']:.0%}",
            f"{row['core_seconds'] / result['num_images']:.2f}",
        ]
        for row in result["rows"]
    ]
    headers = [
        "estimator",
        "guide",
        "samples or chains",
        "rms error, nats",
        "mean error",
        "mean SE",
        "k-hat > 0.7",
        "core seconds per image",
    ]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\n{result['num_images']} images; truth by {result['truth']['num_samples']:,} samples, standard error at "
        f"most {result['truth']['largest_standard_error']:.4f}; it differs from a grid by at most "
        f"{result['truth']['largest_difference_to_grid']:.4f} nats. {source(result)}"
    )


def escalation_table(name: str) -> str:
    """Escalating estimates on static MNIST against the guide's own, and annealing."""
    if not (path := RESULTS / f"{name}.json").exists():
        return NOT_YET
    result = json.loads(path.read_text())
    on_gpu = "NVIDIA" in result["device"]  # there the seconds of a core say little
    compared = "annealed" if "minus_annealed" in result["rows"][0] else "auto"
    places = ".2f" if compared == "annealed" else ".4f"
    rows = [
        [
            row["estimator"],
            f"{row['log_marginal']:.3f}",
            f"{row['standard_error_over_images']:.2f}",
            f"{row['monte_carlo_error']:.3f}",
            f"{row[f'minus_{compared}']:+.3f}",
            f"{row['share_with_khat_above_0.7']:{'.0%' if result['num_images'] <= 100 else '.1%'}}",
            f"{row['median_ess']:.0f}",
            f"{row['seconds' if on_gpu else 'core_seconds'] / result['num_images']:{places}}",
        ]
        for row in result["rows"]
    ]
    headers = [
        "estimator",
        "log p(x), nats per image",
        "SE over images",
        "Monte Carlo SE",
        f"minus {compared}",
        "k-hat > 0.7",
        "median ESS",
        "seconds per image" if on_gpu else "core seconds per image",
    ]
    about = f"{result['num_images']:,} test images. {result['protocol']}. {source(result)}"
    if gap := result.get("gap"):
        about = (
            f"Annealing both ways on as many simulated images: a gap of {gap['mean']:.3f} +- "
            f"{gap['standard_error']:.3f} nats, the largest {gap['largest']:.3f}. {about}"
        )
    if suspects := result.get("suspects"):
        worst = [
            f"image {row['image']:,} by {row['below']:.2f} ({row['estimator']}; k-hat {row['khat']:.2f})"
            for row in suspects
            if row["estimator"].startswith("auto")
        ]
        names = ", ".join(worst) or "none"
        about = f"Below annealing by more than three joint errors under the default estimate: {names}. {about}"
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + f"\n\n{about}"


def by_model_table() -> str:
    """What the guide and the default miss on models of several kinds, against annealing."""
    if not (path := RESULTS / "evidence_by_model.json").exists():
        return NOT_YET
    result = json.loads(path.read_text())
    rows, notes = [], []
    for panel in result["panels"]:
        found = {row["estimator"]: row for row in panel["rows"]}
        default = found["default, 1,000"]
        miss = [f"{row['below_annealed']:+.3f} +- {row['error_of_below']:.3f}" for row in found.values()]
        shares = [f"{found[name]['share_with_khat_above_0.7']:.0%}" for name in ("guide, 5,000", "default, 1,000")]
        rungs = ", ".join(f"{row['num_images']} with {row['rung']}" for row in panel["by_rung"])
        gap = f"{panel['gap']['mean']:+.3f} +- {panel['gap']['standard_error']:.3f}"
        cost = f"{default['evaluations_per_image']:,.0f}"
        annealed = f"{found['annealed']['log_marginal']:.3f}"
        rows.append([panel["name"], annealed, *miss[1:6], *shares, rungs, cost, gap])
        if grid := panel.get("grid"):
            notes.append(
                f"{panel['name'].capitalize()}: a grid of the latents gives {grid['log_marginal']:.3f}; annealing lies "
                f"{grid['annealed_below']:.3f} below it, the default {grid['default_below']:.3f} (the farthest image "
                f"by {grid['largest_difference_from_default']:.3f})."
            )
    headers = ["model", "annealed", *(f"below it: {name}" for name in list(found)[1:6])]
    headers += ["k-hat > 0.7: guide, 5,000", "default", "images by Gaussians fitted", "evaluations per image", "gap"]
    panels = result["panels"]
    chains: dict[str, list[str]] = {}
    for p in panels:
        how = f"{p['num_chains']} chains x {p['num_temperatures']:,} temperatures on {p['device']}"
        chains.setdefault(how, []).append(p["name"])
    annealed = ", ".join(f"{how} ({', '.join(names)})" for how, names in chains.items())
    notes.append(
        f"log p(x) in nats per image, mean of {panels[0]['rows'][0]['num_images']} test images, the same for all; "
        f"annealed: {annealed}; after +- Monte Carlo standard errors of both estimates. Gap: "
        f"annealing both ways on as many simulated images. Epochs trained: "
        + ", ".join(f"{p['name']} {p['training']['epochs']}" for p in panels if p.get("training"))
        + f". {result['protocol']}. {panels[0]['date']}. `{panels[0]['command']}`"
    )
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + "\n\n" + " ".join(notes)


def priors_on_mnist_table() -> str:
    """Priors on static MNIST under the protocol of the field and under the default estimate, the best first."""
    if not (path := RESULTS / "priors_on_mnist.json").exists():
        return NOT_YET
    result = json.loads(path.read_text())
    rows = []
    for row in sorted(result["rows"], key=lambda row: -row["auto"]["log_marginal"]["value"]):
        cells = []
        for kind in ("guide", "auto"):
            mean, gap = row[kind]["log_marginal"], row[kind].get("difference")
            cells += [
                f"{mean['value']:.2f} +- {mean['standard_error']:.2f}",
                f"{gap['value']:+.2f} [{gap['low']:+.2f}, {gap['high']:+.2f}]" if gap else "",
                f"{row[kind]['share_with_khat_above_0.7']:.1%}",
            ]
        epochs = f"{row['epochs']:,} ({row['best_epoch']:,})" if "epochs" in row else "-"
        speed = f"{row['seconds_per_epoch']:.2f}" if "epochs" in row else "-"
        rows.append([row["prior"], epochs, speed, *cells, f"{row['gained']['value']:+.2f}"])
    first = result["rows"][0]["prior"]
    headers = ["prior", "epochs (best)", "s/epoch"]
    headers += [
        f"{head}, {name}"
        for name in ("guide", "default")
        for head in ("log p(x), nats", f"less {first}", "k-hat > 0.7")
    ]
    each = {
        kind: f"{row[kind]['seconds']:.0f} s for {row[kind]['num_images']:,}"
        for row in result["rows"][:1]
        for kind in ("guide", "auto")
    }
    stopped = [row["prior"] for row in result["rows"] if row.get("finished") is False]
    unfinished = [
        f"{row['prior']} (KL weight {row['kl_weight_at_best']:.2f})"
        for row in result["rows"]
        if row.get("kl_weight_at_best", 1) < 1
    ]
    stopped = [name for name in stopped if not any(text.startswith(f"{name} (") for text in unfinished)] + unfinished
    left_out = "".join(
        f"Left out: {name}, stopped in epoch {run['epochs']} at KL weight {run['kl_weight_at_best']:.2f}. "
        for name, run in result["left_out"].items()
    )
    devices = " and ".join(sorted({row["device"] for row in result["rows"] if "device" in row}))
    return tabulate(rows, [*headers, "default less guide"], tablefmt="github", disable_numparse=True) + (
        f"\n\nA random {result['num_images']:,} of the test images, the same for all. Guide: "
        f"{result['estimates']['guide']['num_samples']:,} samples ({each['guide']}); default: "
        f"{result['estimates']['auto']['num_samples']:,} ({each['auto']}), all estimates at once. After +- "
        f"a standard error over images; in brackets 95% intervals over images; one seed each. "
        f"{'Stopped by the clock with their best state so far: ' + ', '.join(stopped) + '. ' if stopped else ''}"
        f"{left_out}Trained and estimated on {devices}. {source(result)} Data: {result['protocol']}."
    )


def gap_table() -> str:
    """Bounds of log p(x) from both sides, and the forward chains on real digits."""
    result = json.loads((RESULTS / "evidence_gap.json").read_text())
    rows = [
        [
            f"{row['settings']['start']}, {row['settings']['num_temperatures']} temperatures, "
            f"{row['settings']['num_chains']} chains, {row['settings']['num_leapfrog']} leapfrog steps",
            f"{row['mean_gap']:.3f} +- {row['mean_gap_standard_error']:.3f}",
            f"{row['seconds']:.0f} ({row['core_seconds']:.0f})",
            f"{row['forward_minus_importance']:+.3f}",
            f"{row['forward_minus_importance_rms']:.3f}",
            f"{row['forward_share_with_khat_above_0.7']:.0%}",
        ]
        for row in result["rows"]
    ]
    headers = [
        "start and settings",
        "mean gap, nats per image",
        "seconds (of a core)",
        "forward on digits minus importance",
        "rms",
        "k-hat > 0.7",
    ]
    plain = result["importance"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\n{result['num_images']} simulated images and as many test digits; importance sampling with "
        f"{plain['num_samples']:,} samples: {plain['mean']:.3f} +- {plain['monte_carlo_error']:.3f} nats per image, "
        f"k-hat above 0.7 for {plain['share_with_khat_above_0.7']:.0%}. {source(result)}"
    )


def resampling_table() -> str:
    """Annealed chains with and without resampling."""
    result = json.loads((RESULTS / "evidence_resampling.json").read_text())
    cells: dict[tuple[str, ...], list[str]] = {}
    for row in result["rows"]:
        found = cells.setdefault((row["name"], row["start"], str(row["num_temperatures"])), [])
        found += [
            f"{row['below']:.2f} +- {row['error_of_below']:.2f}",
            f"{row['rms']:.2f}",
            f"{row['rms_of_errors']:.2f}",
        ]
    headers = ["data", "start", "temperatures"]
    for name in ("chains alone", f"resampled below {result['rows'][1]['resample']:g} of them"):
        headers += [f"nats below log p(x), {name}", "rms error", "as reported"]
    best, rows = result["reference"], [[*key, *found] for key, found in cells.items()]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\n{result['num_chains']} chains; after +- a standard error over data points. log p(x) is known, and each "
        f"data point is estimated {result['copies']} times, but for the images: beside them "
        f"{best['num_temperatures']:,} temperatures from the guide, {best['mean']:.3f} +- {best['error']:.3f} Monte "
        f"Carlo. {source(result)} Images: {result['protocol']}."
    )


def defaults_table() -> str:
    """Error against cost of all that was tried."""
    result = json.loads((RESULTS / "evidence_defaults.json").read_text())
    lines: dict[str, list[str]] = {}
    for i, panel in enumerate(result["panels"]):
        for row in panel["rows"]:
            chosen = row["settings"]
            if row["method"] == "importance":
                name = f"importance, {chosen['proposal']}, {chosen['num_samples']:,}"
            else:
                name = (
                    f"annealed from {chosen['start']}, {chosen['num_chains']} x {chosen['num_temperatures']:,}, "
                    f"{chosen['schedule']}, {chosen['num_leapfrog']} steps, acceptance {chosen['target_acceptance']}"
                )
            line = lines.setdefault(name, [f"{row['passes_per_image']:,}", *[""] * 2 * len(result["panels"])])
            line[1 + 2 * i] = f"{row['rms_error']:.3f}"
            line[2 + 2 * i] = f"{row['core_seconds_per_image']:.2f}"
    headers = ["estimator", "passes"]
    headers += [f"{what}, {panel['images']}" for panel in result["panels"] for what in ("rms error", "core seconds")]
    rows = [[name, *line] for name, line in lines.items()]
    references = ", ".join(f"{panel['reference_error']:.3f} ({panel['images']})" for panel in result["panels"])
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\nOf each image, {result['panels'][0]['num_images']} images; standard error of the reference {references} "
        f"nats. {source(result)}"
    )


def default_coverage_table() -> str:
    """Whether the default estimate and its error are right where log p(x) is known and the guide is bad."""
    result = json.loads((RESULTS / "evidence_default_coverage.json").read_text())
    rows = [
        [
            row["pair"],
            f"{row['coverage_where_not_flagged']:.1%} +- {row['coverage_standard_error']:.1%}",
            f"{row['flagged']:.1%}",
            f"{row['bias']:+.4f} +- {row['bias_standard_error']:.4f}",
            f"{row['highest_t']:+.1f} ({row['p_value_of_highest_t']:.2f})",
            f"{row['reported_standard_error']:.3f} / {row['true_standard_error']:.3f}",
            f"{row['guide_alone_coverage']:.1%}",
            f"{row['guide_alone_bias']:+.3f}",
            f"{row['share_below_guide_by_3_errors']:.1%}",
            f"{row['mean_evaluations']:,.0f}",
        ]
        for row in result["rows"]
    ]
    headers = [
        "pair",
        "coverage where not flagged",
        "flagged",
        "bias, nats",
        "highest t of a bias above 0 (p)",
        "SE: reported / true",
        "guide alone: coverage",
        "its bias",
        "below it by 3 errors",
        "evaluations",
    ]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\n{result['rows'][0]['repetitions']:,} estimates of each pair, of 4 data points, with "
        f"{result['rows'][0]['num_samples']:,} samples each. {source(result)}"
    )


def parts_table(kind: str) -> str:
    """Every prior or encoder on the digits, best first."""
    result = json.loads((RESULTS / f"{kind}_on_digits.json").read_text())
    rows = []
    for row in sorted(result["rows"], key=lambda row: -row["log_marginal"]["value"]):
        gap = row.get("difference")
        rows.append(
            [
                row["name"],
                f"{row['log_marginal']['value']:.2f} +- {row['log_marginal']['standard_error']:.2f}",
                f"{gap['value']:+.2f} [{gap['low']:+.2f}, {gap['high']:+.2f}]" if gap else "",
                f"{row['monte_carlo_error']:.3f}",
                f"{100 * row['khat_above_0.7']:.0f}%",
                f"{row['seconds_per_epoch']:.2f}",
            ]
        )
    headers = [kind[:-1], "log p(x), nats", f"less {result['first']}", "Monte Carlo error", "k-hat > 0.7", "s/epoch"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\nSeeds: {result['rows'][0]['num_seeds']}; {result['num_samples']:,} importance samples for each of "
        f"{result['num_images']:,} images. After +- a standard error; intervals: {result['intervals']}. Seconds: of "
        f"the quickest epoch, its validation included, on a machine shared with other work. {result['device']}, "
        f"{result['threads']} thread, {result['date']}. `{result['command']}`. Data: {result['protocol']}."
    )


def features_table() -> str:
    """What codes are worth to classifiers and clusters, beside principal components and pixels."""
    result = json.loads((RESULTS / "features.json").read_text())
    kinds = [key for key in result["rows"][0] if key.partition("_")[0] in ("linear", "nearest")]
    rows = []
    for row in result["rows"]:
        cells = [f"{row[kind]['accuracy']:.1%}" for kind in kinds]
        spreads = [row[kind]["standard_deviation"] for kind in kinds]
        cells = [f"{cell} +- {100 * s:.1f}" if s is not None else cell for cell, s in zip(cells, spreads, strict=True)]
        rows.append([row["features"], *cells, f"{row['nmi']:.2f}"])
    headers = ["features", *(kind.replace("_", ", ").replace("1000", "1,000") for kind in kinds), "NMI of k-means"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\nTest accuracy by number of labels, {result['num_test']:,} test images; +- the standard deviation over "
        f"{result['draws']} draws of the labelled. {trained_by(result)} "
        f"{source(result)}, {result['minutes']:.0f} minutes on a busy machine."
    )


def restoration_table() -> str:
    """Error and SSIM of restored images by damage and method, and log p of what was missing."""
    if not (path := RESULTS / "restoration.json").exists():
        return NOT_YET
    result = json.loads(path.read_text())
    rows = [
        [
            row["damage"],
            row["method"],
            "{:.4f} +- {:.4f}".format(*row["squared_error"]),
            "{:.3f} +- {:.3f}".format(*row["ssim"]),
            "{:.0f} +- {:.0f}".format(*row["log_prob"]) if "log_prob" in row else "",
        ]
        for row in result["rows"]
    ]
    chains = [row for row in result["rows"] if "median_ess" in row]
    told = {
        "median effective sample size, of 100 draws that chains start from": [
            f"{row['median_ess']:.1f}" for row in chains
        ],
        "acceptance": [f"{row['acceptance']:.2f}" for row in chains],
        "share of images whose k-hat of log p is above 0.7": [
            f"{row['unreliable']:.0%}" for row in chains if "unreliable" in row
        ],
    }
    headers = ["damage", "method", "squared error", "SSIM", "log p(missing\\|known)"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\nMeans over {result['count']} test images, the same for all methods, with standard errors; squared error "
        f"a value, where pixels are missing of these alone; log p in nats per image. Of the VAE, in the order of the "
        f"table: "
        f"{'; '.join(f'{name}: ' + ', '.join(values) for name, values in told.items())}. Autoencoders: "
        f"{result['steps']:,} steps each. The run: {trained_by(result)} {source(result)}, {result['minutes']:.0f} "
        f"minutes on a busy machine."
    )


def transfer_table() -> str:
    """log p(x) of test images of few training images, by start and epochs."""
    if not (path := RESULTS / "transfer.json").exists():
        return NOT_YET
    result = json.loads(path.read_text())
    rows = []
    steps = sorted({row["epoch"] * row["num_train"] // result["batch_size"] for row in result["rows"]})
    for (count, start), group in itertools.groupby(result["rows"], key=lambda row: (row["num_train"], row["start"])):
        found = {row["epoch"] * count // result["batch_size"]: row for row in group}
        last = found[max(found)]
        less = f"{last['less_first']:+.0f} +- {last['less_first_error']:.0f}" if last["less_first_error"] else ""
        means = [f"{found[step]['mean']:.0f}" if step in found else "" for step in steps]
        rows.append([f"{count:,}", start, *means, less, f"{last['share_with_khat_above_0.7']:.0%}"])
    headers = ["images", "start", *(f"{step:,} steps" for step in steps), "then less first weights", "k-hat > 0.7"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\nlog p(x) in nats per image of {result['num_test']} test images, {result['num_samples']} samples each, "
        f"after so many steps of {result['batch_size']} images; after the last step also the difference from first "
        f"weights on the same images, and the share of images whose estimate is doubtful. Data: {result['protocol']}, "
        f"the first training images. The run: {trained_by(result)} {source(result)}, {result['minutes']:.0f} minutes "
        f"on a busy machine."
    )


def generation_table() -> str:
    """Precision, coverage and nearest training data of draws, by temperature and truncation."""
    if not (path := RESULTS / "generation.json").exists():
        return NOT_YET
    result = json.loads(path.read_text())
    rows = [
        [
            f"{row['draws']} {row['value']:g}" if "value" in row else row["draws"],
            *(f"{row[name]:.3f}" for name in ("precision", "recall", "density", "coverage")),
            f"{row['nearest_share']:.3f} +- {row['nearest_share_error']:.3f}",
        ]
        for row in result["rows"]
    ]
    headers = ["draws", "precision", "recall", "density", "coverage", "nearest to training data"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\n{result['count']:,} means of p(x\\|z) and as many test images, in the space of {result['components']} "
        f"principal components; 5 neighbors. Nearest to training data rather than to as many test images: one half "
        f"where nothing is copied. {trained_by(result)} {source(result)}, {result['minutes']:.1f} minutes."
    )


def trained_by(result: dict[str, Any]) -> str:
    """How the run that an experiment looks at was trained, and on what."""
    run = result["trained"]
    epochs = f"{run['epochs']} of {run['epochs_asked_for']} epochs on {run['device']}"
    return f"Trained with `{run['command']}`: {epochs}. Data: {run['protocol']}."


def damaged_inputs_table() -> str:
    """What became of damaged and hostile inputs, by kind."""
    if not (path := RESULTS / "damaged_inputs.json").exists():
        return NOT_YET
    result = json.loads(path.read_text())
    columns = ("tried", "refused", "read", "failed")
    rows = [[row["method"], *(f"{row[name]:,}" for name in columns)] for row in result["rows"]]
    rows.append(["all", *(f"{sum(row[name] for row in result['rows']):,}" for name in columns)])
    headers = ["input", "tried", "refused in a sentence", "read as what it says", "failed"]
    table = tabulate(rows, headers, tablefmt="github", disable_numparse=True)
    return f"{table}\n\n{_made_on(result)}"


def soak_table() -> str:
    """Kills by kind of command, and whether what was gone on with came to the same bits."""
    if not (path := RESULTS / "soak.json").exists():
        return NOT_YET
    result = json.loads(path.read_text())
    columns = ("kills", "after writing", "ended", "same bits")
    rows = [[row["method"], *(str(row[name]) for name in columns)] for row in result["rows"]]
    rows.append(["all", *(str(sum(row[name] for row in result["rows"])) for name in columns)])
    headers = ["command", "kills", "after it had written", "came to their ends", "to the undisturbed one's bits"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + f"\n\n{_made_on(result)}"


def killed_comparisons_table() -> str:
    """Comparisons that were killed in the middle and given again."""
    if not (path := RESULTS / "killed_comparisons.json").exists():
        return NOT_YET
    result = json.loads(path.read_text())
    rows = [
        [
            row["method"],
            f"{row['finished']} of {row['runs']}",
            f"{row['untouched']} of {row['finished']}",
            f"{row['same bits']} of {row['runs']}",
            "yes" if row["same table"] else "no",
            str(row["left"]),
        ]
        for row in result["rows"]
    ]
    headers = ["comparison", "runs finished when killed", "of them untouched", "runs of the same bits", "same table"]
    headers.append("processes left")
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + f"\n\n{_made_on(result)}"


def jobs_table() -> str:
    """Seconds of a comparison by jobs, and of an epoch by processes, beside those of one."""
    if not (path := RESULTS / "jobs.json").exists():
        return NOT_YET
    result = json.loads(path.read_text())
    rows, first = [], dict[str, float]()
    for row in result["rows"]:
        seconds = min(row["seconds"])
        factor = first.setdefault(row["what"], seconds) / seconds
        rows.append([row["what"], row["method"].removeprefix("pyro_vae "), f"{seconds:.3g}", f"{factor:.2f}"])
    headers = ["what", "command", "s", "times as fast"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\nOf a whole command from its start to its end, and of an epoch of 1,197 images with its validation. On "
        f"{result['cores']} cores; load of the machine before: {result['load_before']:.1f}. {_made_on(result)}"
    )


def search_table() -> str:
    """log p(x) of test data with the settings that a search found and with those as given, beside its own best."""
    if not (path := RESULTS / "search_on_digits.json").exists():
        return NOT_YET
    result = json.loads(path.read_text())
    best, (gap,) = result["best"], result["differences"]
    elbo = {f"trial {best['trial']}": best["validation_elbo"], "as given": result["given_elbo"]}
    rows = [
        [
            row["name"],
            f"{elbo[row['name']]:.2f}",
            f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]",
            str(row["num_seeds"]),
        ]
        for row in result["rows"]
    ]
    headers = ["settings", "validation ELBO in the search", "log p(x) of test data, 95% interval", "fresh seeds"]
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in result["outcomes"].items())
    found = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in best["settings"].items())
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\nNats per image. Paired difference {gap['a']} - {gap['b']}: {gap['value']:.2f} [{gap['low']:.2f}, "
        f"{gap['high']:.2f}]. Trials: {outcomes}. Found: {found}. Data: {result['protocol']}. {source(result)}, "
        f"{result['seconds'] / 60:.0f} minutes."
    )


def many_fits_table() -> str:
    """What a process holds before and after many trainings."""
    if not (path := RESULTS / "many_fits.json").exists():
        return NOT_YET
    result = json.loads(path.read_text())
    rows = [[row["method"], f"{row['before']:,}", f"{row['after']:,}"] for row in result["rows"]]
    headers = ["what the process holds", "before", f"after {result['fits']} trainings"]
    changed = ", ".join(result["changed"]) or "none"
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\nOf {result['switches']} settings of the process changed: {changed}. {_made_on(result)}"
    )


def compression_table() -> str:
    """Bits for each value: what a file takes, its bounds, and codecs on the same images."""
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("compression_*.json"))]
    if not results:
        return NOT_YET
    shown = ["PNG, each image", "PNG, one sheet", "WebP, each image", "WebP, one sheet", "gzip", "bz2", "xz", "zstd"]
    rows = [
        [
            row["data"],
            f"{row['images']:,}",
            f"{row['bits']:.4f}",
            f"{row['negative_elbo_bits']:.4f}",
            f"{row['bits'] / row['negative_elbo_bits'] - 1:+.2%}",
            f"{row['negative_elbo_bits_of_evaluated'] - row['negative_log_marginal_bits']:.4f}",
            *(f"{row['codecs'][name]:.3f}" if name in row["codecs"] else "" for name in shown),
            ", ".join(f"{row['images'] / row[way]['core_seconds']:.0f}" for way in ("encoding", "decoding")),
        ]
        for result in results
        for row in result["rows"]
    ]
    headers = ["data", "images", "file", "-ELBO", "above it", "-ELBO above -log p(x), at least"]
    headers += [*shown, "images a second of a core, there and back"]
    some = results[0]["rows"][0]
    commands = ", ".join(f"`{result['command']}`" for result in results)
    about = (
        f"Bits for each value. log p(x) of {some['evaluated']} of the images, {some['num_samples']:,} samples from the "
        f"guide: a lower bound. {commands}, {results[0]['device']}, {results[0]['date']}."
    )
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + f"\n\n{about}"


def lossy_compression_table() -> str:
    """Bytes of an image, PSNR and SSIM of rounded codes, and of JPEG and WebP."""
    if not (path := RESULTS / "lossy_compression.json").exists():
        return NOT_YET
    result = json.loads(path.read_text())
    rows, seen = [], set()
    for panel in result["panels"]:
        for row in panel["rows"]:
            is_vae = row["method"] == "VAE"
            name = f"{panel['data']}, {panel['latents']} latents" if is_vae else panel["data"]
            how = f"{row['method']}, {'step' if is_vae else 'quality'} {row['setting']}"
            if (name, how) not in seen:  # codecs are the same for all models of the data
                rows.append([name, how, f"{row['bytes']:.1f}", f"{row['psnr']:.1f}", f"{row['ssim']:.3f}"])
            seen.add((name, how))
    runs = "; ".join(f"`{panel['trained']}`" for panel in result["panels"])
    about = (
        f"{result['panels'][0]['images']} test images of each. `{result['command']}`, {result['device']}, "
        f"{result['date']}. The runs, in the order of the table: {runs}."
    )
    headers = ["data and model", "how", "bytes an image", "PSNR, dB", "SSIM"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + f"\n\n{about}"


TABLES = {
    "damaged_inputs.md": damaged_inputs_table,
    "soak.md": soak_table,
    "killed_comparisons.md": killed_comparisons_table,
    "jobs.md": jobs_table,
    "search_on_digits.md": search_table,
    "many_fits.md": many_fits_table,
    "features.md": features_table,
    "transfer.md": transfer_table,
    "generation.md": generation_table,
    "autoencoders.md": autoencoders_table,
    "autoencoder_numbers.md": autoencoder_numbers,
    "priors_on_digits.md": functools.partial(parts_table, "priors"),
    "encoders_on_digits.md": functools.partial(parts_table, "encoders"),
    "static_mnist.md": static_mnist_table,
    "step_time.md": functools.partial(step_time_table, "step_time"),
    "step_time_conv.md": functools.partial(step_time_table, "step_time_conv"),
    "evidence_time.md": functools.partial(evidence_time_table, "evidence_time"),
    "evidence_time_whole.md": functools.partial(evidence_time_table, "evidence_time_whole"),
    "whole_run.md": whole_run_table,
    "streaming.md": streaming_table,
    "growth.md": growth_table,
    "evidence_default_coverage.md": default_coverage_table,
    "evidence_agreement.md": agreement_table,
    "evidence_coverage.md": coverage_table,
    "evidence_annealed.md": annealed_table,
    "evidence_escalation.md": functools.partial(escalation_table, "evidence_escalation"),
    "evidence_escalation_gpu.md": functools.partial(escalation_table, "evidence_escalation_gpu"),
    "evidence_escalation_all.md": functools.partial(escalation_table, "evidence_escalation_all"),
    "evidence_by_model.md": by_model_table,
    "priors_on_mnist.md": priors_on_mnist_table,
    "step_time_gpu.md": functools.partial(step_time_table, "step_time_gpu"),
    "evidence_time_gpu.md": functools.partial(evidence_time_table, "evidence_time_gpu"),
    "evidence_gap.md": gap_table,
    "evidence_resampling.md": resampling_table,
    "evidence_defaults.md": defaults_table,
    "compression.md": compression_table,
    "lossy_compression.md": lossy_compression_table,
    "anomalies.md": functools.partial(anomalies_table, "anomalies"),
    "anomalies_mnist.md": functools.partial(anomalies_table, "anomalies_mnist"),
    "restoration.md": restoration_table,
}


def gallery() -> str:
    """Every part of the library and when to take it: the first sentence of its docstring."""
    tables = []
    for kind in (models, priors, likelihoods, encoders, networks):
        public = [getattr(kind, name) for name in sorted(kind.__all__, key=str.lower)]
        classes = [cls for cls in public if inspect.isclass(cls) and not inherited(cls)]  # no abstract ones
        rows = [[f"`{cls.__name__}`", first_sentence(cls)] for cls in classes]
        tables.append(tabulate(rows, [kind.__name__.rpartition(".")[2], "what, and when"], tablefmt="github"))
    return "\n\n".join(tables)


def inherited(cls: type) -> bool:
    """Whether another class of the library derives from a class; those of users may."""
    return any(
        derived.__module__.startswith(f"{models.__name__.partition('.')[0]}.") for derived in cls.__subclasses__()
    )


def first_sentence(cls: type) -> str:
    """The first paragraph of a docstring, in markdown."""
    text = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
    return text.replace("``", "`").replace("|", "\\|")


def write(page: str) -> str:
    """A page with each table between its markers replaced by the present content of its file."""

    def table(match: re.Match[str]) -> str:
        return f"{match[1]}\n{(ROOT / match[2]).read_text().strip()}\n\n<!-- end of table -->"

    written = re.sub(r"(<!-- table: (\S+) -->\n).*?<!-- end of table -->", table, page, flags=re.DOTALL)
    start, end = "<!-- gallery -->\n", "<!-- end of gallery -->"
    before, found, rest = written.partition(start)
    return before + start + f"\n{gallery()}\n\n" + end + rest.partition(end)[2] if found else written


PAGES = ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "experiments" / "README.md"

if __name__ == "__main__":
    for name, table in TABLES.items():
        (RESULTS / name).write_text(table() + "\n")
    for path in PAGES:
        path.write_text(write(path.read_text()))
        print(f"tables of {path.relative_to(ROOT)} written")
