"""The command line before it is known what to do, and how it ends: quick, in one line, without a traceback."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pyro_vae
from pyro_vae.commands.main import commands, fail, main
from pyro_vae.commands.mistyped import refuse_unknown
from pyro_vae.runs.estimators import ESTIMATORS

ROOT = Path(__file__).parents[2]
HEAVY = ["torch", "numpy", "matplotlib", "pyro", "scipy", "jsonargparse"]


def test_the_command_writes_all_it_prints_and_says_nothing_to_a_closed_pipe(monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", "")  # so that something is left to write at the end
    code = "from pyro_vae.commands import main as cli; cli.main = lambda: print('x' * 1000); cli.command()"
    start = {"args": [sys.executable, "-c", code], "cwd": Path(__file__).parents[2], "text": True}
    whole = subprocess.run(**start, capture_output=True, check=True)
    assert whole.stdout == "x" * 1000 + "\n"
    with subprocess.Popen(**start, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as closed:
        closed.stdout.close()
        assert closed.stderr.read() == ""
    assert closed.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 0, "usage: pyro-vae COMMAND [OPTIONS]"),
        (["--help"], 0, "pyro-vae COMMAND --help lists its options"),
        (["--version"], 0, f"pyro-vae {pyro_vae.__version__}\n"),
        (["trian"], 2, "got the command trian. Did you mean train?\n"),
        (["--verson"], 2, "got the option --verson. Did you mean --version?\n"),
        (["train", "--epochz", "3"], 2, "unknown option --epochz 3. Did you mean --epochs?\n"),
        (["evaluate", "RUN", "--out", "x"], 2, "unknown option --out x. --help lists those that there are.\n"),
        (["compare", "--num-sampels", "3"], 2, "unknown option --num-sampels 3. Did you mean --num-samples?\n"),
    ],
)
def test_nothing_large_is_imported_before_it_is_known_what_to_do(arguments, code, text):
    """In a process of its own; it takes 40 ms, where torch alone takes a second."""
    script = (
        "import atexit, sys; from pyro_vae.commands.main import main;"
        f"atexit.register(lambda: print([name for name in {HEAVY} if name in sys.modules])); main({arguments})"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert text in (done.stderr if code else done.stdout)
    assert done.stdout.endswith("[]\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "given"),
    [*((name, []) for name in commands()), *(("evaluate", ["--estimator", name]) for name in ESTIMATORS)],
)
def test_no_option_that_there_is_is_refused(command, given, monkeypatch):
    seen = []

    def parse(self, *_):
        seen.extend(self.known())
        raise KeyboardInterrupt

    monkeypatch.setattr("pyro_vae.runs.parser.Parser.parse_args", parse)
    with pytest.raises(SystemExit):
        main([command, *given])
    file = Path(pyro_vae.commands.main.__file__).with_name(f"{command.replace('-', '_')}.py")
    refuse_unknown([*seen, *(f"{option}=3" for option in seen)], file)
    assert len(seen) > 3


def test_an_option_of_another_command_is_none_of_this_one():
    """Without an import of torch: answered at once, by every command."""
    folder = Path(pyro_vae.commands.main.__file__).parent
    for name in commands():
        option = "--lossy" if name in ("train", "compare", "tune") else "--kl-warmup"
        with pytest.raises(ValueError, match=f"unknown option {option} 3"):
            refuse_unknown(["RUN", option, "3"], folder / f"{name.replace('-', '_')}.py")


def test_a_command_is_a_file(monkeypatch, tmp_path, capsys):
    folder = Path(pyro_vae.commands.main.__file__).parent
    copy = tmp_path / "more_commands_of_a_test"
    shutil.copytree(folder, copy)
    (copy / "greet.py").write_text(
        '"""Say something kind."""\n\n\ndef parse(parser, arguments):\n    parser.add_argument("--name", type=str)\n'
        '    return parser.parse_args(arguments)\n\n\ndef run(chosen):\n    print("Good morning", chosen.name)\n'
    )
    monkeypatch.setattr("pyro_vae.commands.main.__file__", str(copy / "main.py"))
    monkeypatch.setattr("pyro_vae.commands.__path__", [str(copy)])
    monkeypatch.setattr("pyro_vae.commands.main.commands", commands.__wrapped__)  # which are read once in a process
    assert commands.__wrapped__()["greet"] == "Say something kind."
    main(["greet", "--name", "Ada"])
    assert capsys.readouterr().out == "Good morning Ada\n"
    sys.modules.pop("pyro_vae.commands.greet")


def test_every_command_says_what_it_does_in_a_sentence():
    assert len(commands()) >= 9
    for text in commands().values():
        assert text.endswith(".")
        assert len(text) < 130


def test_an_interrupt_while_modules_are_imported_is_one_word(monkeypatch, capsys):
    def interrupt(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("pyro_vae.commands.main.importlib.import_module", interrupt)
    with pytest.raises(SystemExit) as stopped:
        main(["train"])
    assert stopped.value.code == 130
    assert capsys.readouterr() == ("", "\ninterrupted\n")


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path):
    code = (
        "from pyro_vae.commands import main as cli;"
        "cli._run = lambda *_: [print('x' * 100_000, flush=True) for _ in range(100)]; cli.command()"
    )
    start = [sys.executable, "-c", code, "train"]
    with subprocess.Popen(start, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as writer:
        writer.stdout.read(10)
        writer.stdout.close()
        assert writer.stderr.read() == ""
    assert writer.returncode == 1


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            PermissionError(13, "Permission denied", "a/run.json"),
            "a/run.json; got an error: Permission denied. Change",
        ),
        (OSError(28, "No space left on device"), "connection; got an error: No space left on device. Free some space"),
        (FileExistsError("Expected a new folder; got a."), "error: Expected a new folder; got a.\n"),
    ],
)
def test_an_error_of_the_system_is_a_sentence(error, text, capsys):
    with pytest.raises(SystemExit):
        fail(error)
    said = capsys.readouterr().err
    assert said.startswith("pyro-vae: error: Expected ")
    assert text in said
    assert "Errno" not in said
