"""What the README and docs print is true: code runs, commands parse, links lead somewhere, tables are the results'."""

import importlib
import json
import re
import runpy
import shlex
import sys
import warnings
from pathlib import Path

import pyro
import pytest

import pyro_vae
from pyro_vae import HeavyTail, LogMarginal
from pyro_vae.commands import evaluate
from pyro_vae.commands.main import commands, main
from pyro_vae.runs import parts
from pyro_vae.runs.estimators import ESTIMATORS
from pyro_vae.runs.parser import Parser
from pyro_vae.runs.settings import dump

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text()
EXPERIMENTS = ROOT / "experiments" / "README.md"
TEXT = "\n".join(page.read_text() for page in PAGES)
TABLES = runpy.run_path(str(ROOT / "experiments" / "readme_tables.py"), run_name="tables")

# What makes the code quick to run: other numbers, and digits for MNIST.
QUICKLY = {
    r"KLWarmup\(epochs=\d+\)": "1.0",
    r"\bepochs=\d+": "epochs=1",
    r"\"--epochs\", \"\d+\"": '"--epochs", "1"',
    r"num_samples=\d+": "num_samples=30",
    r"num_temperatures=\d+": "num_temperatures=3",
    r"in \(0, 1, 2\)": "in (0,)",
    r"hidden=\(300, 300\)": "hidden=(20, 20)",
    r"\[:100\]": "[:6]",
    r"\[:20\]": "[:3]",
    r"\bdigits\.test\b(?!\[)": "digits.test[:8]",
    r"\bdigits\.labels\.test\b(?!\[)": "digits.labels.test[:8]",
    r"guide, test,": "guide, tuple(x[:8] for x in test),",
    r"data\.load\(\"static_mnist\", \"data\", download=True\)": 'data.load("digits", binarization="static")',
}


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)


def quickly(code):
    for slow, quick in QUICKLY.items():
        code = re.sub(slow, quick, code)
    return code


@pytest.mark.usefixtures("short_warm_up")
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page.read_text(), "python")], ids=lambda p: p.stem)
def test_python_code_runs_in_order(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks(page.read_text(), "python"))
    names: dict[str, object] = {}
    monkeypatch.setattr("builtins.print", lambda *args, **kwargs: [str(arg) for arg in args])
    with pyro.get_param_store().scope(), warnings.catch_warnings():  # some train with SVI alone, in the global store
        warnings.simplefilter("ignore", HeavyTail)  # models are hardly trained here
        exec(compile(quickly(code), page.name, "exec"), names)
    results = [value for value in names.values() if isinstance(value, LogMarginal)]
    assert all(result.log_prob.isfinite().all() for result in results)
    if page.name in ("README.md", "which-number.md"):
        assert results


def test_what_makes_code_quick_is_there():
    for slow in QUICKLY:
        assert re.search(slow, TEXT), f"{slow} is in no page"


@pytest.mark.parametrize(("name", "lines"), [("MyVAE", 12), ("TwoLevels", 17)])
def test_models_are_as_short_as_said(name, lines):
    assert len([line for line in source_of(name).splitlines() if line.strip()]) <= lines + 1  # the class line aside


def source_of(name):
    """The code of a class that a page prints."""
    (source,) = re.findall(rf"^(class {name}.*?)(?:\n\n\S|```)", TEXT, flags=re.DOTALL | re.MULTILINE)
    return source


@pytest.mark.parametrize("name", ["GumbelPrior", "AnyBits", "LogisticEncoder", "Linear"])
def test_own_parts_are_short(name):
    assert len(source_of(name).splitlines()) < 30


def test_the_readme_is_short():
    assert len(README.splitlines()) < 200


def test_tables_are_those_of_the_results():
    pages = [path.read_text() for path in TABLES["PAGES"]]
    assert [TABLES["write"](page) for page in pages] == pages, "run python experiments/readme_tables.py"
    for name, table in TABLES["TABLES"].items():
        assert (ROOT / "experiments/results" / name).read_text().strip() == table()
        assert f"<!-- table: experiments/results/{name} -->" in "".join(pages)


def test_the_comparison_of_the_readme_is_that_of_its_json():
    """Its table is written by ``pyro-vae compare``, beside the JSON."""
    table = (ROOT / "experiments/results/digits_comparison.md").read_text()
    result = json.loads((ROOT / "experiments/results/digits_comparison.json").read_text())
    rows = {row.split("|")[1].strip(): re.sub(" +", " ", row) for row in table.splitlines() if row.startswith("| ")}
    for name, each in result["log_marginal"].items():
        assert f" {each['value']:.2f} | [{each['low']:.2f}, {each['high']:.2f}] " in rows[name]
    for each in result["differences"]:  # the table puts the better one first
        a, b, sign = (each["a"], each["b"], 1) if each["value"] > 0 else (each["b"], each["a"], -1)
        low, high = sorted(sign * each[end] for end in ("low", "high"))
        assert f" {sign * each['value']:.2f} | [{low:.2f}, {high:.2f}] " in rows[f"{a} - {b}"]


# Decimals and percentages that text may say: settings, limits, mathematics, what others published with its source.
SAID = {"0.01", "0.5", "0.7", "1.1", "1.2", "1.5", "1.96", "1.44", "95%", "-88.71", "0.1.0", "2.0", "2.13", "3.11"}


@pytest.mark.parametrize("page", [*PAGES, EXPERIMENTS], ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_measured_numbers_stand_in_tables_alone(page):
    elsewhere = r"^```.*?^```|<!-- table.*?<!-- end of table -->|`[^`\n]*`|^#+ [^\n]*"
    prose = re.sub(elsewhere, "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    said = re.findall(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)+%?|\d+%|\d+e-\d+", prose)
    assert set(said) <= SAID


def test_the_version_to_cite_is_this_one():
    assert re.findall(r"version += \{(.*)\}", README) == [pyro_vae.__version__]
    assert f"## {pyro_vae.__version__}\n" in (ROOT / "docs/changelog.md").read_text()


def test_gallery_names_every_part_with_its_first_sentence():
    gallery = (ROOT / "docs/parts.md").read_text()
    assert TABLES["gallery"]() in gallery, "run python experiments/readme_tables.py"
    for part in ("model", "prior", "likelihood", "encoder", "network"):
        for name in parts.short_names(part):
            sentence = TABLES["first_sentence"](parts.find_class(part, name))
            assert f"| `{name}`" in gallery
            assert 30 < len(sentence) <= 120, f"{name}: {sentence}"


def write_own_modules(folder):
    """What the pages say is saved as my_models.py and my_parts.py."""
    python = [block for page in PAGES for block in blocks(page.read_text(), "python")]
    for module, classes in {
        "my_models": ("MyVAE", "TwoLevels", "Counts"),
        "my_parts": ("GumbelPrior", "LogCounts"),
    }.items():
        source = "\n".join(block for block in python if any(f"class {name}(" in block for name in classes))
        (folder / f"{module}.py").write_text(source)


@pytest.fixture
def workplace(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write_own_modules(tmp_path)
    (counts,) = (block for page in PAGES for block in blocks(page.read_text(), "python") if 'savez("counts' in block)
    exec(counts, {})
    yield tmp_path
    for module in ("my_models", "my_parts"):
        monkeypatch.delitem(sys.modules, module, raising=False)


def commands_of(page):
    """Words of all commands of ours in shell blocks and, with options, in the text."""
    text = page.read_text()
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    lines += [
        " ".join(code.split()) for code in re.findall(r"(?<!`)`(pyro-vae \w[\w-]* -[^`]*|pyro-vae \w[\w-]*)`", text)
    ]
    for line in lines:
        line = re.sub(r"^torchrun .* -m pyro_vae", "pyro-vae", line.rpartition("&& ")[2])
        if line.startswith("pyro-vae") and "COMMAND" not in line:
            yield shlex.split(line)[1:]


@pytest.mark.parametrize("page", [*PAGES, EXPERIMENTS], ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_commands_are_read_by_their_parser(page, workplace):
    Path("run").mkdir()
    Path("run/settings.yaml").write_text("epochs: 3")
    for name, *words in commands_of(page):
        assert name in commands()
        words = [word.replace("RUN", "run") for word in words]
        if "--help" in words:
            words.remove("--help")
        if not words and name not in ("compare", "train"):
            continue  # the command is meant, not a call
        settings = importlib.import_module(f"pyro_vae.commands.{name.replace('-', '_')}").parse(Parser(), words)
        if name == "train" and settings.out:
            Path(settings.out).mkdir(parents=True, exist_ok=True)
            (Path(settings.out) / "settings.yaml").write_text(dump(settings))


def test_options_in_the_text_exist():
    known = {"--nproc-per-node", "--nnodes", "--version"}  # of torchrun, and of no command
    for name in commands():
        parser = Parser()
        chosen = ["--prior", "VampPrior", "--model", "VAE"] if name in ("train", "tune") else ["run"]
        chosen += ["data"] if name in ("compress", "decompress") else []
        command = importlib.import_module(f"pyro_vae.commands.{name.replace('-', '_')}")
        command.parse(parser, chosen if name != "compare" else [])
        known |= set(parser.known())
    for estimator in ESTIMATORS:
        evaluate.parse(parser := Parser(), ["run", "--estimator", estimator])
        known |= set(parser.known())
    of_parts = ("--prior.", "--likelihood.", "--encoder.", "--network.", "--decoder.", "--model.", "--objective.")
    for page in PAGES:
        elsewhere = r"^```.*?^```|<!-- table.*?<!-- end of table -->"  # blocks are parsed, tables made
        prose = re.sub(elsewhere, "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        for option in re.findall(r"(?<![\w-])--[a-z][\w.-]*\w", prose):
            assert option in known or option.startswith(of_parts), f"{page.name}: {option}"


@pytest.mark.parametrize("page", [*PAGES, EXPERIMENTS], ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", file.read_text(), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target


def test_every_page_is_linked_from_the_front_and_the_index():
    index = (ROOT / "docs/README.md").read_text()
    for page in PAGES[1:]:
        if page.name != "README.md":
            assert f"(docs/{page.name}" in README, page.name
            assert f"({page.name}" in index, page.name


def test_files_of_the_map_exist():
    """The README's rooms: what stands in code is a file or folder of the library."""
    (rooms,) = re.findall(r"## Where things are\n(.*?)\n## ", README, flags=re.DOTALL)
    library = ROOT / "pyro_vae"
    folder = library
    for name in re.findall(r"`([a-z_]+(?:/[a-z_]+)*(?:\.py)?)`", rooms.split("Imports point")[0]):
        if name in ("pyro_vae", "fit"):
            continue
        place = library / name if (library / name).exists() else folder / name
        assert place.exists(), name
        folder = place.parent if place.is_file() else folder


@pytest.mark.parametrize("module", ["my_models", "my_parts"])
def test_own_code_runs_from_the_command_line_as_printed(module, workplace):
    printed = re.findall(rf"^pyro-vae (.* {module}\..*)", TEXT, flags=re.MULTILINE)
    assert len(printed) >= 2
    for number, command in enumerate(printed):
        quick = ["--epochs", "1", "--kl-warmup", "0", "--out", str(number)]
        few = ["--seeds", "1", "--estimator", "guide", "--num-samples", "5", "--num-images", "10"]
        quick += few if "compare" in command else []
        main([*shlex.split(command), *quick])
        assert (Path(str(number)) / ("comparison.md" if "compare" in command else "settings.yaml")).exists()
