"""The library keeps its shape: which way imports point, what is public, and how large a file may grow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pyro_vae

LIBRARY = Path(pyro_vae.__file__).parent
OPEN_SETS = ("encoders", "likelihoods", "models", "networks", "objectives", "priors")
EXPERIMENTS = Path(__file__).parent.parent / "experiments"

# The rooms, the lowest first. A file imports from its own room and from those above it here, never from its own line.
ROOMS = """
    arguments disk output
    distributions networks data pairs
    encoders likelihoods priors models compiled objectives
    training evidence
    runs uses compression
    plots
    commands
"""
RANK = {name: line for line, names in enumerate(ROOMS.split("\n")) for name in names.split()}
ROOT = {"__init__.py", "__main__.py", "version.py", "py.typed"}

FILES = sorted(path for path in LIBRARY.rglob("*.py") if path != LIBRARY / "__init__.py")


def part_of(path):
    """The first name below the package: "priors" for priors/vamp.py."""
    return path.relative_to(LIBRARY).with_suffix("").parts[0]


def imported_modules(path, root):
    """Full names of all that a file imports; ``root`` is the name of the package its folder is."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = root.split(".")[: len(root.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*package, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def imported_parts(path):
    root = ".".join(["pyro_vae", *path.parent.relative_to(LIBRARY).parts])
    names = [name.split(".") for name in imported_modules(path, root)]
    return {name[1] for name in names if name[0] == "pyro_vae" and len(name) > 1}


def test_the_root_holds_rooms_and_what_python_wants_there():
    there = {path.name for path in LIBRARY.iterdir() if path.name != "__pycache__"}
    assert there == ROOT | set(RANK)
    assert all((LIBRARY / room / "__init__.py").is_file() for room in RANK)


@pytest.mark.parametrize("room", sorted(RANK))
def test_imports_point_down(room):
    for path in sorted((LIBRARY / room).rglob("*.py")):
        for imported in imported_parts(path) - {room, "version"}:
            assert RANK[imported] < RANK[room], f"{path.relative_to(LIBRARY)} imports {imported}"


def test_imports_are_seen():
    """Relative and absolute ones, of modules and of names."""
    assert {"data", "objectives", "compiled", "pairs"} <= imported_parts(LIBRARY / "training" / "fit.py")
    assert {"networks", "likelihoods"} <= imported_parts(LIBRARY / "likelihoods" / "bernoulli.py")
    assert {"encoders", "priors", "pairs"} <= imported_parts(LIBRARY / "runs" / "parts.py")
    assert imported_parts(LIBRARY / "data" / "digits.py") == {"data"}


# Names with an underscore that are public all the same, and those that torch's distributions have for subclasses.
DOCUMENTED = {"_asdict", "_fields", "_make", "_replace", "_exit"}
FOR_SUBCLASSES = {"_validate_args", "_validate_sample", "_extended_shape", "_get_checked_instance"}
BY_STRING = ("getattr", "hasattr", "setattr", "delattr", "get", "pop")


def is_private(name):
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__") and name.strip("_") != ""


def own_names(tree):
    """What a file defines: functions, classes, variables, and attributes of its own objects."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            yield node.attr


def is_self(node):
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def private_names(tree, own):
    """Private names of other packages that a file uses: in imports, as attributes, and in strings that name them."""
    for node in ast.walk(tree):
        found = []
        if isinstance(node, ast.Attribute) and not (is_self(node.value) and node.attr in FOR_SUBCLASSES):
            found = [node.attr]
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            found = [node.slice.value]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in BY_STRING:
            found = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        elif isinstance(node, ast.Import):
            found = [part for alias in node.names for part in alias.name.split(".")]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        yield from (name for name in found if is_private(name) and name not in own | DOCUMENTED)


def test_private_names_of_other_packages_stand_in_files_of_their_own():
    """What an upgrade may break is in `*_private.py`, and a test of the same name tries each of them."""
    trees = {path: ast.parse(path.read_text()) for path in FILES}
    private = {path for path in FILES if path.stem.endswith("_private")}
    own = {name for path in set(FILES) - private for name in own_names(trees[path])}
    used = {str(path.relative_to(LIBRARY)): {*private_names(trees[path], own)} for path in set(FILES) - private}
    assert {path: names for path, names in used.items() if names} == {}
    tests = Path(__file__).parent
    assert private
    assert all((tests / part_of(path) / f"test_{path.name}").is_file() for path in private)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("import torch\ntorch._standard_gamma(x)", "_standard_gamma"),
        ("from torch.utils._pytree import tree_iter", "_pytree"),
        ("from pyro.poutine.runtime import _PYRO_STACK", "_PYRO_STACK"),
        ("import torch._inductor", "_inductor"),
        ("class A(B):\n    def f(self):\n        return self._actions, self._validate_args", "_actions"),
        ("site['infer'].get('_deterministic')", "_deterministic"),
        ("action['_typehint']", "_typehint"),
        ("from __future__ import annotations\nfor _ in x.__dict__: self._asdict()", None),
        ("def f(self, other):\n    self._mine = 3\n    return other._mine", None),
    ],
)
def test_private_names_are_seen(code, name):
    tree = ast.parse(code)
    assert [*private_names(tree, {*own_names(tree)})] == ([] if name is None else [name])


# Parts of one family, such as a prior and a likelihood of the same distribution, may share a name.
FAMILIES = ("encoders", "likelihoods", "priors", "distributions", "networks")


def test_a_name_says_which_file_is_meant():
    names = [path.stem for path in FILES if path.stem != "__init__" and part_of(path) not in FAMILIES]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_only_evidence_says_log_p():
    """Nothing else defines or records a number under the name of log p(x)."""
    for path in FILES:
        if RANK.get(part_of(path), 0) < RANK["evidence"] or part_of(path) == "training":
            names = {
                n.name for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, (ast.FunctionDef, ast.ClassDef))
            }
            assert not {name for name in names if "marginal" in name.lower() or name in ("nll", "get_nll", "log_px")}


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.rglob("*.py")), ids=lambda path: path.name)
def test_experiments_use_public_names_only(path):
    for name in imported_modules(path, "experiments"):
        first, *rest = name.split(".")
        if first == "pyro_vae" and name not in (
            "pyro_vae.runs.environment.environment",
            "pyro_vae.commands.main.keep_freed_memory",
            "pyro_vae.commands.main.main",
        ):
            assert not any(part.startswith("_") for part in rest), name
            assert not rest or rest[0] in (*pyro_vae.__all__, *OPEN_SETS), name


def test_public_names_are_what_the_rooms_say():
    """Each once, for type checkers and for Python: every room whose names are public says itself what they are."""
    (checked,) = (node for node in ast.parse((LIBRARY / "__init__.py").read_text()).body if isinstance(node, ast.If))
    imports = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    starred = [str(node.module) for node in imports if node.names[0].name == "*"]
    assert set(OPEN_SETS) <= set(starred) <= set(RANK)
    assert starred == pyro_vae._PUBLIC
    assert set(pyro_vae._ROOMS) == set(RANK)
    theirs = [name for room in starred for name in getattr(pyro_vae, room).__all__]
    assert sorted([*theirs, "__version__", "data", "plots"]) == sorted(pyro_vae.__all__)
    assert len(set(pyro_vae.__all__)) == len(pyro_vae.__all__)
    assert all(getattr(pyro_vae, name) is not None for name in pyro_vae.__all__)
    assert set(dir(pyro_vae)) == {*pyro_vae.__all__, *RANK}
    with pytest.raises(AttributeError, match="has no attribute 'VampPrio'"):
        _ = pyro_vae.VampPrio


def test_rooms_are_imported_when_they_are_asked_for():
    """Neither torch before anything is used, nor, by all public names, its compiler, which takes two seconds more."""
    code = (
        "import pyro_vae, sys; assert 'torch' not in sys.modules; from pyro_vae import *; print(VAE, plots, len(dir()))"
    )
    code += "; assert 'torch' in sys.modules; assert 'torch._dynamo' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "VAE" in done.stdout


LARGEST, LONGEST = 300, 80  # lines of a file, and of a function below its signature and docstring
# Those whose options are settings of a whole training or estimate may have many.
WITH_SETTINGS = {"fit", "log_marginal", "annealed_log_marginal", "bidirectional", "rate_distortion"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= LARGEST
    assert len(path.relative_to(LIBRARY).parts) <= 2
    assert path.stem not in ("utils", "base", "core", "common", "helpers")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0]
            assert node.end_lineno - first.lineno < LONGEST, node.name
            assert len(node.args.args + node.args.kwonlyargs) <= 12 or node.name in WITH_SETTINGS, node.name


def code(path, *, imports=False, signatures=False):
    """Those lines, stripped; imports and signatures if wanted, which the contracts of the parts make alike."""
    text = path.read_text()
    left_out = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            left_out |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
        if isinstance(node, (ast.Import, ast.ImportFrom)) and not imports:
            left_out |= set(range(node.lineno, node.end_lineno + 1))
        if isinstance(node, ast.FunctionDef) and not signatures:
            left_out |= set(range(node.lineno, node.body[0].lineno))
    lines = enumerate(text.splitlines(), 1)
    return [s for n, line in lines if n not in left_out and (s := line.strip()) and not s.startswith("#")]


PARTS = [getattr(pyro_vae, room) for room in OPEN_SETS]


def test_names_are_unique_over_all_parts():
    """A name says which part it is: `pyro_vae.X` is one thing, and so is X after a plus on the command line."""
    assert all(len(part.__all__) == len(set(part.__all__)) for part in PARTS)
    names = [name for part in PARTS for name in part.__all__]
    assert sorted(names) == sorted(set(names))


MEMBERS = [path for path in FILES if part_of(path) in {part.__name__.rpartition(".")[2] for part in PARTS}]


@pytest.mark.parametrize("path", MEMBERS, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_members_of_open_sets_are_short(path):
    assert len(path.read_text().splitlines()) <= 200


@pytest.mark.parametrize(
    ("paths", "signatures"),
    [(MEMBERS, False), (sorted(EXPERIMENTS.rglob("*.py")), True)],
    ids=["members", "experiments"],
)
def test_no_two_files_share_six_lines(paths, signatures):
    """Six lines of code in a row, imports aside: what two files need stands in one place."""
    seen: dict[tuple[str, ...], Path] = {}
    for path in (path for path in paths if path.stem != "__init__"):
        lines = code(path, signatures=signatures)
        for start in range(len(lines) - 5):
            run = tuple(lines[start : start + 6])
            assert seen.setdefault(run, path) == path, (path.name, seen[run].name, run)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_importing_changes_no_switch_of_the_process(path):
    """No statement of a module's own level sets validation, dtypes, seeds or determinism."""
    calls = [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    assert not calls or path.name == "__main__.py"
