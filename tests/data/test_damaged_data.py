"""Whatever bytes a data file has: it is read as its format says, or refused in a sentence, at once."""

import importlib.util
import io
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pyro_vae import data

# Derandomized, so that the suite tries the same inputs each time; experiments/robustness draws further ones.
TRIED = settings(
    max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
STREAM = np.random.default_rng(0)
GREY = STREAM.integers(0, 256, (12, 3, 4), dtype=np.uint8)
REAL = STREAM.normal(size=(12, 3)).round(3)


def saved(save, *args, **kwargs):
    file = io.BytesIO()
    save(file, *args, **kwargs)
    return file.getvalue()


def image(kind, pixels=GREY[0], **how):
    return saved(Image.fromarray(pixels).save, kind, **how)


TABLE = pandas.DataFrame(REAL, columns=["a", "b", "\u00fc"])
FILES = {
    "grey.npy": saved(np.save, GREY),
    "real.npy": saved(np.save, REAL),
    "splits.npz": saved(np.savez_compressed, train=REAL[:8], valid=REAL[8:10], test=REAL[10:]),
    "labels.npz": saved(np.savez, images=REAL, labels=np.arange(12) % 3),
    "table.csv": TABLE.to_csv(index=False).encode(),
    "table.tsv": TABLE.to_csv(sep="\t").encode(),
}
if importlib.util.find_spec("pyarrow"):
    FILES["table.parquet"] = saved(TABLE.to_parquet)
IMAGES = {f"a.{kind}": image(kind) for kind in ("png", "jpeg", "gif", "bmp", "webp")}


@st.composite
def damaged(draw, content):
    """Bytes with one to three flips, cuts, gaps, insertions or stretches of something else."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        kind = draw(st.sampled_from(["flip", "cut", "gap", "insert", "overwrite"]))
        some = draw(st.binary(min_size=1, max_size=40))
        if kind == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del content[at:]
        elif kind == "gap":
            del content[at : at + len(some)]
        elif kind == "insert":
            content[at:at] = some
        else:
            content[at : at + len(some)] = some
    return bytes(content)


def read_or_refused(path, load=data.load):
    """What is read, finite, or the refusal; in less than a second and 50 MB."""
    tracemalloc.start()
    began = time.process_time()
    try:
        found = load(path)
        assert all(x.isfinite().all() for x in (found.train, found.validation, found.test))
    except (ValueError, FileNotFoundError) as error:
        found = str(error)
    finally:
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert time.process_time() - began < 1.0
    assert taken < 50e6
    assert not isinstance(found, str) or "Expected " in found, found
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


@pytest.mark.parametrize("name", FILES)
def test_damaged_arrays_and_tables_are_read_as_they_are_or_refused(folder, name):
    path = folder / name

    @TRIED
    @given(damaged(FILES[name]))
    def tried(content):
        path.write_bytes(content)
        found = read_or_refused(path)
        if not isinstance(found, str) and name == "real.npy":  # no checksums: what the bytes say is what is read
            expected = torch.from_numpy(np.load(path).astype(np.float32)).flatten()
            values = torch.cat([found.train, found.validation, found.test]).flatten()
            assert torch.equal(values.sort().values, expected.sort().values)

    path.write_bytes(FILES[name])
    assert not isinstance(read_or_refused(path), str)
    tried()


@pytest.mark.parametrize("name", IMAGES)
def test_damaged_images_are_read_as_they_are_or_refused(folder, name):
    place = folder / f"images of {name}"
    place.mkdir()
    for i in range(10):
        (place / f"{i}{name}").write_bytes(IMAGES[name])

    @settings(TRIED, max_examples=15)
    @given(damaged(IMAGES[name]))
    def tried(content):
        (place / name).write_bytes(content)
        read_or_refused(place)

    assert not isinstance(read_or_refused(place), str)
    tried()


@settings(TRIED, max_examples=60)
@given(st.sampled_from([*FILES, *IMAGES]), st.binary(max_size=300))
def test_random_bytes_are_refused(tmp_path_factory, name, content):
    path = tmp_path_factory.getbasetemp() / f"random{Path(name).suffix}"
    path.write_bytes(content)
    if name in IMAGES:
        found = read_or_refused(path, lambda _: data.load(path.parent, root=None))
        path.unlink()
    else:
        found = read_or_refused(path)
    assert isinstance(found, str)


SHAPES = st.lists(st.sampled_from([0, 1, 2, 5, 12, 2**31, 2**62]), max_size=6)
KINDS = st.sampled_from(["|u1", "<f4", "<f8", ">i8", "<c16", "|O", "<U9", "|S1000000000", "<M8[s]", "|b1", "<f2"])


@settings(TRIED, max_examples=200)
@given(SHAPES, KINDS, st.booleans())
def test_declared_shapes_and_types_are_looked_at_first(tmp_path_factory, shape, kind, in_archive):
    described = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {tuple(shape)!r}, }}".encode()
    content = b"\x93NUMPY\x01\x00" + len(described).to_bytes(2, "little") + described + bytes(200)
    path = tmp_path_factory.getbasetemp() / ("declared.npz" if in_archive else "declared.npy")
    if in_archive:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images.npy", content)
    else:
        path.write_bytes(content)
    assert isinstance(read_or_refused(path), str)


class Hostile:
    """Run by whoever unpickles it."""

    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def test_pickles_in_arrays_are_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    array = np.array([Hostile()] * 20, dtype=object)
    np.save("a.npy", array, allow_pickle=True)
    np.savez("b.npz", images=array, allow_pickle=True)
    for name in ("a.npy", "b.npz"):
        with pytest.raises(ValueError, match=rf"Expected a complete NumPy file of plain numbers at .*{name}"):
            data.load(name)
    assert not Path("executed").exists()


def test_archives_of_many_arrays_or_of_the_same_twice_are_refused(tmp_path):
    one = saved(np.save, REAL)
    for name, members in {"many": [f"{i}.npy" for i in range(1001)], "twice": ["a.npy", "a.npy"]}.items():
        path = tmp_path / f"{name}.npz"
        with zipfile.ZipFile(path, "w") as archive, pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.warn", lambda *_, **__: None)  # of the name that is there twice
            for member in members:
                archive.writestr(member, one)
        assert "at most 1,000 are read, each of another name" in read_or_refused(path)


def test_large_files_are_refused_before_they_are_read(tmp_path):
    (tmp_path / "MNIST_static").mkdir()
    for part in ("train", "valid", "test"):
        with (tmp_path / "MNIST_static" / f"binarized_mnist_{part}.amat").open("wb") as file:
            file.truncate(2**40)
    with pytest.raises(ValueError, match=r"Expected at most 268,435,456 bytes in .*train\.amat; got 1,099,511,627,776"):
        data.load("static_mnist", tmp_path)
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match=r"Expected at most 268,435,456 bytes in .*a\.png; got"):
        data.load(tmp_path)


def test_tables_say_how_much_they_hold_before_they_are_read(tmp_path, monkeypatch):
    for name in (name for name in FILES if name.startswith("table")):
        (tmp_path / name).write_bytes(FILES[name])
        with monkeypatch.context() as small:
            small.setattr("pyro_vae.arguments.memory.physical_memory", lambda: 16 * 30)
            with pytest.raises(ValueError, match=rf"Expected at most 30 values in .*{name}"):
                data.load(tmp_path / name)


def test_a_footer_that_contradicts_itself_is_not_believed(tmp_path):
    """Readers go by the rows of the groups, and would leave some out in silence."""
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    TABLE.to_parquet(path)
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    refused = set()
    for at in (at for at in range(footer, len(whole) - 8) if whole[at] == 2 * len(TABLE)):
        for rows in (1, len(TABLE) - 1, len(TABLE) + 1):
            path.write_bytes(whole[:at] + bytes([2 * rows]) + whole[at + 1 :])
            found = read_or_refused(path)
            if isinstance(found, str):
                refused |= {at} if "rows by its footer" in found else set()
            else:
                assert sum(map(len, (found.train, found.validation, found.test))) == len(TABLE)
                assert parquet.read_metadata(path).num_rows == len(TABLE)
    assert len(refused) == 2


def test_lists_in_a_table_are_neither_names_nor_numbers(tmp_path):
    pytest.importorskip("pyarrow")
    for lists in ([[float(i)] for i in range(20)], [{"a": float(i)} for i in range(20)]):
        pandas.DataFrame({"first": lists, "b": np.arange(20.0)}).to_parquet(tmp_path / "a.parquet")
        assert "got others in first" in read_or_refused(tmp_path / "a.parquet")


def test_a_column_without_a_name_is_not_dropped(tmp_path):
    """pandas takes it for the names of the rows where the first line has one name less than the others."""
    (tmp_path / "a.csv").write_text("b,c\n" + "1.5,2,3\n" * 12)
    with pytest.raises(ValueError, match=r"Expected a name for each column in the first line of .*a\.csv"):
        data.load(tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["a" * 10_000, "a\0b", "C:\\Windows\\system32", "\u00fc" * 200, "/dev/zero", ""])
def test_names_that_no_file_can_have_are_sentences(name):
    with pytest.raises((ValueError, FileNotFoundError), match="Expected"):
        data.load(f"{name}.npy" if name else name)
    with pytest.raises((ValueError, FileNotFoundError), match="Expected"):
        data.load(name or "nothing")
