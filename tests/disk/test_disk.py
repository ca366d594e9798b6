"""Files are whole or not there, read within limits, notice damage, and are made by one process at a time."""

import json
import math
import os
import random
import signal
import stat
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import safetensors.torch
import torch

from pyro_vae.disk.json_files import read_json, write_json
from pyro_vae.disk.lock import locked
from pyro_vae.disk.packing import packed, unpacked
from pyro_vae.disk.reading import read_whole
from pyro_vae.disk.writing import written_whole

# Whole or not at all


def write(path, content=b"new", error=None):
    with written_whole(path) as file:
        file.write(content)
        if error is not None:
            raise error


def test_a_file_appears_when_it_is_whole_with_the_permissions_of_any_file(tmp_path):
    before = os.umask(0o027)
    try:
        with written_whole(tmp_path / "a") as file:
            file.write(b"half")
            assert not (tmp_path / "a").exists()
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    finally:
        os.umask(before)
    assert (tmp_path / "a").read_bytes() == b"half"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError(28, "No space left on device")])
def test_what_fails_half_way_leaves_the_file_before(tmp_path, error):
    write(tmp_path / "a", b"old")
    with pytest.raises((KeyboardInterrupt, ValueError, OSError)):
        write(tmp_path / "a", b"half", error)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_full_disk_and_a_name_that_is_too_long_are_sentences(tmp_path):
    with pytest.raises(OSError, match=r"^Expected to write .*/a; got an error: No space .* Free some space"):
        write(tmp_path / "a", error=OSError(28, "No space left on device"))
    with pytest.raises(OSError, match=r"got an error: File name too long\. Use a shorter name"):
        write(tmp_path / ("a" * 300))
    with pytest.raises(FileNotFoundError, match=r"^Expected to write .*nowhere/a; got an error: No such file"):
        write(tmp_path / "nowhere" / "a")


def test_nothing_but_a_regular_file_is_replaced(tmp_path):
    (tmp_path / "thesis").write_text("years of work")
    (tmp_path / "link").symlink_to("thesis")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = {path.name: path.lstat().st_ino for path in tmp_path.iterdir()}
    for name in ("link", "dangling", "folder", "pipe"):
        with pytest.raises(
            FileExistsError, match=rf"Expected a regular file or none at .*{name}; got a .*Move it away"
        ):
            write(tmp_path / name)
    assert {path.name: path.lstat().st_ino for path in tmp_path.iterdir()} == before
    assert (tmp_path / "thesis").read_text() == "years of work"


# Read within limits


def test_pipes_devices_and_folders_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", tmp_path / "zeros", tmp_path):
        with pytest.raises(ValueError, match=f"Expected a .*file .*{path.name}"):
            read_whole(path)
    with pytest.raises(FileNotFoundError, match="Expected a file at"):
        read_whole(tmp_path / "none")


def test_the_size_is_looked_at_before_the_file_is_read(tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match=r"Expected at most 67,108,864 bytes .*; got 1,099,511,627,776"):
        read_whole(tmp_path / "large")


# JSON that notices damage

CONTENT = {"error": math.nan, "list": [1.0, math.inf, 0.1 + 0.2], "text": "nötig", "none": None, "1": {"a": True}}


def test_json_comes_back_and_what_is_not_finite_is_null(tmp_path):
    write_json(tmp_path / "a.json", CONTENT, kind="a")
    expected = {**CONTENT, "error": None, "list": [1.0, None, 0.1 + 0.2]}
    assert read_json(tmp_path / "a.json", kind="a") == expected
    with pytest.raises(ValueError, match=r"Expected a b in .*a\.json; got a a"):
        read_json(tmp_path / "a.json", kind="b")


def test_any_changed_byte_is_noticed_or_says_nothing(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, CONTENT, kind="a")
    whole, content, refused = path.read_bytes(), read_json(path, kind="a"), 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            assert read_json(path, kind="a") == content
        except ValueError as error:
            refused += str(path) in str(error)
    assert refused > 0.7 * len(whole)  # the others are blanks between the words


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "3", "{}", '{"kind": "a"}', "[" * 10**5, '{"a": ' * 10**5, '{"a": 1e999}', "9" * 5000]
)
def test_other_json_is_one_sentence(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"Expected .*a\.json.* Make it again\.$"):
        read_json(tmp_path / "a.json", kind="a")


# One at a time

HOLD = """
import sys, time
from pathlib import Path
from pyro_vae.disk.lock import locked
with locked(Path(sys.argv[1]), doing="counting"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_says_who_holds_it_and_dies_with_its_process(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "count")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError, match=f"no other process counting; process {other.pid} on .* since"):
            hold(tmp_path / "count")
        other.send_signal(signal.SIGKILL)
    with locked(tmp_path / "count", doing="counting"):
        holder = json.loads((tmp_path / "count.holder").read_text())
    assert holder["pid"] == os.getpid()


def hold(path, error=None):
    with locked(path, doing="counting"):
        if error is not None:
            raise error


def test_a_lock_is_free_again_after_the_block(tmp_path):
    with pytest.raises(ZeroDivisionError):
        hold(tmp_path / "a", ZeroDivisionError())
    with locked(tmp_path / "a", doing="counting"):
        (tmp_path / "a.holder").write_text("[]")
        with pytest.raises(BlockingIOError, match="Expected no other process counting; one does it now"):
            hold(tmp_path / "a")


def test_what_was_packed_comes_back_exactly():
    turned = torch.arange(6.0).reshape(2, 3).T
    value = {
        "numbers": [True, 3, 0.1, -0.0, math.inf, "words", None, (1, (2.5,))],
        "tensors": (turned, torch.tensor([True]), torch.tensor(7), torch.zeros(0)),
        "streams": [random.getstate(), np.random.RandomState(3).get_state()],
        "counted": Counter([3, 3, 4]),
        5: {"$float": "not a number"},
    }
    tensors = {}
    packed_ = json.loads(json.dumps(packed(value, tensors), allow_nan=False))
    found = unpacked(packed_, safetensors.torch.load(safetensors.torch.save(tensors)))
    assert found["tensors"][0].stride() == turned.stride()
    assert all(
        torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(found["tensors"], value["tensors"], strict=True)
    )
    for a, b in zip(found["streams"][1], value["streams"][1], strict=True):
        assert np.array_equal(a, b)
    left_out = {"tensors": None, "streams": found["streams"][:1]}
    assert repr(found | left_out) == repr(value | {"tensors": None, "streams": value["streams"][:1]})
    with pytest.raises(ValueError, match="Expected numbers, words and tensors to save at state/b/1; got function"):
        packed({"b": [1, len, test_what_was_packed_comes_back_exactly][::2]}, {})
