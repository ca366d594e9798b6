"""Named categories through the command line: other data keep the numbers of training, and people read names."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from own_models import SHIFTED
from PIL import Image

from pyro_vae import data, load
from pyro_vae.commands.main import main
from pyro_vae.data import Data, Splits
from pyro_vae.disk.json_files import write_json
from pyro_vae.runs.given_data import GivenData

KINDS = np.array(["T", "B", "NK", "B"] * 10)
SEALED = ["sha256", "kind"]  # entries of a file that writing it makes anew
SMALL = ["--model", "of_kinds.Shifted", "--latent-dim", "2", "--epochs", "1", "--compile", "false"]


def images(folder, classes):
    """Grey images of 2 x 2 pixels, twelve of each class, the same ones whichever other classes there are."""
    for name in classes:
        (folder / name).mkdir(parents=True)
        pixels = np.random.default_rng(sum(map(ord, name))).integers(0, 256, (12, 2, 2), dtype=np.uint8)
        for number, image in enumerate(pixels):
            Image.fromarray(image).save(folder / name / f"{number:02}.png")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs on a table whose column `kind` holds texts and on a folder of classes, and others data for them."""
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "of_kinds.py").write_text(SHIFTED)
    cells = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)), columns=list("abc")).assign(kind=KINDS)
    cells.to_csv(folder / "cells.csv", index=False)
    for kind in "BT":  # one class alone, its rows from the last to the first, the columns in another order
        cells[cells.kind == kind][["kind", "c", "a", "b"]][::-1].to_csv(folder / f"{kind}.csv", index=False)
    cells[cells.kind == "T"].astype({"kind": "category"}).to_parquet(folder / "T.parquet", index=False)
    cells.replace({"kind": {"T": "t"}}).to_csv(folder / "unknown.csv", index=False)
    cells.assign(kind=cells.kind.where(cells.index != 7)).to_csv(folder / "missing.csv", index=False)
    cells.assign(kind=cells.kind == "T").to_csv(folder / "numbers.csv", index=False)
    cells.assign(kind=np.unique(KINDS, return_inverse=True)[1]).to_parquet(folder / "numbers.parquet", index=False)
    cells.replace({"kind": {"T": "U"}}).to_csv(folder / "others.csv", index=False)
    images(folder / "insects", ["ant", "bee", "wasp"])
    images(folder / "some", ["bee", "wasp"])
    images(folder / "more", ["ant", "bees"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [str(folder), *sys.path])
        words = ["--inputs", "x=table", "y=kind", *SMALL]
        main(["train", "--data", "cells.csv", *words, "--out", "cells"])
        main(["train", "--data", "others.csv", *words, "--seed", "1", "--out", "others"])
        main(["train", "--data", "insects", "--inputs", "x=images", "y=labels", *SMALL, "--out", "insects-run"])
        yield folder
    sys.modules.pop("of_kinds", None)


def codes(run, data, out):
    main(["encode", run, data, "--overwrite", "-o", str(out)])
    with np.load(out) as arrays:
        return dict(arrays)


def refused(words, capsys):
    """The one line that a command answers with."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.parametrize("name", ["T.csv", "B.csv", "T.parquet"])
def test_a_table_with_one_class_gives_the_numbers_that_its_rows_have_among_all(trained, tmp_path, name):
    among_all = codes("cells", "cells.csv", tmp_path / "all.npz")["z"][name[0] == KINDS]
    alone = codes("cells", name, tmp_path / "one.npz")["z"]
    np.testing.assert_allclose(alone[::-1] if name.endswith("csv") else alone, among_all, rtol=1e-5, atol=1e-6)


def test_log_p_of_a_table_with_one_class(trained, tmp_path):
    """Estimated from other draws than among all rows: the same within their errors."""

    def scores(data):
        main(["score", "cells", data, "--num-samples", "500", "-o", str(tmp_path / f"{data}.csv")])
        table = pd.read_csv(tmp_path / f"{data}.csv")
        return table.negative_log_prob.to_numpy(), table.negative_log_prob_error.to_numpy()

    (alone, error), (among_all, other) = scores("T.csv"), scores("cells.csv")
    off = alone[::-1] - among_all[KINDS == "T"]
    assert (abs(off) < 5 * np.hypot(error[::-1], other[KINDS == "T"])).all()


def test_what_a_run_keeps(trained):
    run = load("cells")
    assert run.about["categories"] == {"kind": ["B", "NK", "T"]}
    assert run.data.categories == {"kind": ("B", "NK", "T")}
    assert "; kind: 3 categories (B, NK, T); " in run.about["protocol"]
    names = np.array(run.data.categories["kind"])[run.data.given("test")["y"]]
    table = pd.read_csv("cells.csv")
    x = run.data.test[:, 0].numpy()
    assert names.tolist() == [table.kind[abs(table.a - value).argmin()] for value in x]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            "unknown.csv",
            "Expected one of the categories of training in kind of unknown.csv, B, NK, T; got 't'. Did",
        ),
        ("missing.csv", "Expected a category for each data point in kind of missing.csv; got none for 1 of 40. Drop"),
        ("numbers.csv", "Expected one of the categories of training in kind of numbers.csv, B, NK, T; got 'True'"),
    ],
)
@pytest.mark.parametrize("command", ["encode", "score"])
def test_other_categories_are_one_line(trained, command, data, message, capsys, tmp_path):
    assert message in refused([command, "cells", data, "-o", str(tmp_path / "out.csv")], capsys)
    assert not (tmp_path / "out.csv").exists()


def test_a_folder_without_a_class_gives_the_numbers_that_its_images_have_among_all(trained, tmp_path, capsys):
    all_of_them, some = (codes("insects-run", data, tmp_path / "codes.npz") for data in ("insects", "some"))
    assert all_of_them["labels"].tolist() == ["ant"] * 12 + ["bee"] * 12 + ["wasp"] * 12
    assert some["labels"].tolist() == ["bee"] * 12 + ["wasp"] * 12
    np.testing.assert_allclose(some["z"], all_of_them["z"][12:], rtol=1e-5, atol=1e-6)
    line = refused(["encode", "insects-run", "more", "-o", str(tmp_path / "more.npz")], capsys)
    assert "categories of training in the class folders of more, ant, bee, wasp; got 'bees'. Did you mean bee?" in line


def test_classes_that_no_model_takes_are_those_of_the_folder(trained, tmp_path):
    """A run on x alone is used on images of any class: their names are told from no other ones."""
    main(["train", "--data", "insects", "--epochs", "1", "--latent-dim", "2", "--binarization", "dynamic",
          "--network", "MLP", "--network.hidden", "[8]", "--compile", "false", "--out", "plain"])  # fmt: skip
    assert codes("plain", "more", tmp_path / "more.npz")["labels"].tolist() == ["ant"] * 12 + ["bees"] * 12
    few = ["--num-samples", "10", "--num-reference", "3"]
    main(["score", "plain", "some", *few, "--anomalies", "wasp", "-o", str(tmp_path / "scores.csv")])
    table = pd.read_csv(tmp_path / "scores.csv")
    assert table.label.tolist() == ["bee"] * 12 + ["wasp"] * 12
    assert ((table.label == "wasp") == table.anomalous).all()
    main(["encode", "plain", "some", "-o", str(tmp_path / "codes.parquet")])
    assert pd.read_parquet(tmp_path / "codes.parquet").label.tolist() == table.label.tolist()


def test_classes_are_called_by_their_names(trained, tmp_path, capsys):
    of_test = load("insects-run").data.labels.test
    away, toward = (["ant", "bee", "wasp"][number] for number in of_test.unique()[:2])
    words = ["--toward", toward, "--away", away, "--steps", "3"]
    main(["traverse", "insects-run", *words, "-o", str(tmp_path / "traversals.png")])
    for word in ("bees", "2"):
        line = refused(["traverse", "insects-run", "--toward", word, "-o", str(tmp_path / "x.png")], capsys)
        assert f"Expected a class among the labels of insects, ant, bee, wasp; got {word}." in line
    line = refused(["score", "insects-run", "some", "--anomalies", "ant", "-o", str(tmp_path / "s.csv")], capsys)
    assert "Expected a class among the labels of some, bee, wasp; got ant." in line


def test_a_class_to_draw_is_asked_for_by_its_name(trained, tmp_path, capsys):
    out = tmp_path / "drawn.npz"
    main(["sample", "insects-run", "--num-samples", "4", "--given", "y=wasp,ant", "-o", str(out)])
    assert "given  y = wasp, ant" in capsys.readouterr().out
    pair, rows = load("insects-run").module, torch.tensor([2, 0, 2, 0])
    with np.load(out) as drawn:  # means are W z + row, z the same for the same seed
        first = drawn["means"] - pair.table(rows).detach().numpy().reshape(4, 1, 2, 2)
    main(["sample", "insects-run", "--num-samples", "4", "--given", "y=bee", "--overwrite", "-o", str(out)])
    with np.load(out) as drawn:
        second = drawn["means"] - pair.table.weight[1].detach().numpy().reshape(1, 1, 2, 2)
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)
    for word, got in (("y=1", "got '1'."), ("y=bees", "got 'bees'. Did you mean bee?"), ("y=ant,", "got ''.")):
        line = refused(["sample", "insects-run", "--given", word, "-o", str(tmp_path / "other.npz")], capsys)
        assert f"Expected --given y with its categories, ant, bee, wasp; {got}" in line


def test_categories_of_other_names_are_not_taken_for_those_of_the_run(trained, capsys):
    """Neither by a training that starts from its weights, nor where both score the same data, nor as its own data."""
    words = ["train", "--data", "others.csv", "--inputs", "x=table", "y=kind", *SMALL, "--out", "new"]
    for command in ([*words, "--init-from", "cells"], ["score", "others", "--also", "cells"]):
        assert "the categories of y are B, NK, T there and B, NK, U here. " in refused(command, capsys)
    assert not Path("new").exists()
    cells = Path("cells.csv").read_text()
    try:
        Path("cells.csv").write_text(cells.replace("NK", "NKT"))  # the same numbers, by another name
        line = refused(["evaluate", "cells"], capsys)
        assert "Expected one of the categories of training in kind of cells.csv, B, NK, T; got 'NKT'." in line
    finally:
        Path("cells.csv").write_text(cells)


@pytest.mark.parametrize("entry", [{"kind": ["B", "B", "T"]}, {"kind": []}, {"kind": "BT"}, ["B"], {"kind": [1, 2]}])
def test_categories_of_a_damaged_run(trained, entry):
    path = Path("cells/run.json")
    whole = path.read_text()
    try:
        about = {name: value for name, value in json.loads(whole).items() if name not in SEALED}
        write_json(path, about | {"categories": entry}, kind="run")
        with pytest.raises(ValueError, match=r"^Expected (different names of .*|categories) in .*run\.json"):
            load("cells")
    finally:
        path.write_text(whole)


@pytest.mark.parametrize("run", ["cells", "insects-run", "numbers"])
def test_a_run_that_does_not_say_its_categories(trained, tmp_path, run, capsys):
    """One that was made before runs did: its own data have them."""
    if run == "numbers" and not Path(run).exists():
        main(["train", "--data", "numbers.parquet", "--inputs", "x=table", "y=kind", *SMALL, "--out", run])
    path = Path(f"{run}/run.json")
    whole = path.read_text()
    other = {"cells": "T.csv", "insects-run": "some", "numbers": "numbers.parquet"}[run]
    before = codes(run, other, tmp_path / "before.npz")["z"]
    try:
        about = {name: value for name, value in json.loads(whole).items() if name not in [*SEALED, "categories"]}
        write_json(path, about, kind="run")
        assert np.array_equal(codes(run, other, tmp_path / "after.npz")["z"], before)
        if run == "numbers":
            line = refused(["encode", run, "T.csv", "-o", str(tmp_path / "texts.npz")], capsys)
            assert "Expected whole numbers as kind of T.csv, as in training; got kind: 1 category (T)." in line
    finally:
        path.write_text(whole)


def test_tables_and_arrays_hold_the_categories_of_their_rows(trained, tmp_path):
    main(["encode", "cells", "cells.csv", "-o", str(tmp_path / "codes.csv")])
    assert pd.read_csv(tmp_path / "codes.csv").label_kind.tolist() == KINDS.tolist()
    assert codes("cells", "T.csv", tmp_path / "codes.npz")["labels_kind"].tolist() == ["T"] * 10
    few = ["--num-samples", "10", "--num-reference", "3", "--anomalies", "B"]
    main(["score", "cells", "cells.csv", "--num-images", "15", *few, "-o", str(tmp_path / "scores.csv")])
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert scores.label_kind.tolist() == KINDS[scores.id].tolist()
    assert ((scores.label_kind == "B") == scores.anomalous).all()


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("B NK T", "Expected other labels beside"),
        ("B x", "Expected a class among the labels of cells, B, NK, T; got B, x"),
    ],
)
def test_anomalies_are_some_of_the_categories(trained, tmp_path, capsys, classes, message):
    words = ["score", "cells", "cells.csv", "-o", str(tmp_path / "s.csv"), "--anomalies", *classes.split()]
    assert message in refused(words, capsys)


def test_a_class_that_two_columns_have_is_refused():
    rows = torch.zeros(2, 3)
    kinds = Splits(*3 * [torch.tensor([0, 1])])
    both = {"kind": ("B", "unknown"), "donor": ("ann", "unknown")}
    data = Data(
        name="d",
        train=rows,
        validation=rows,
        test=rows,
        protocol="p",
        others=dict.fromkeys(both, kinds),
        categories=both,
    )
    given = GivenData(rows, data, "test")
    assert given.labels_among(["B"]).tolist() == ["B", "unknown"]
    with pytest.raises(ValueError, match=r"of one of label_kind and label_donor alone, .*; got unknown"):
        given.labels_among(["unknown"])


def test_a_table_without_a_column_of_training(trained, tmp_path, capsys):
    pd.read_csv("cells.csv").drop(columns="kind").to_csv("unlabelled.csv", index=False)
    line = refused(["encode", "cells", "unlabelled.csv", "-o", str(tmp_path / "c.csv")], capsys)
    assert "got 'kind', which it lacks. A pair that was trained with it needs it for each data point." in line


def test_draws_are_saved_beside_what_they_are_given(trained, tmp_path):
    main(["sample", "cells", "--num-samples", "3", "--given", "y=T,B", "-o", str(tmp_path / "drawn.npz")])
    with np.load(tmp_path / "drawn.npz") as drawn:
        assert drawn["given.y"].tolist() == ["T", "B", "T"]


def test_columns_beside_x_are_labels_and_no_input(tmp_path, monkeypatch, capsys):
    """The same model as without them; whoever uses it later need not have them."""
    monkeypatch.chdir(tmp_path)
    cells = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)), columns=list("abc"))
    described = cells.assign(kind=KINDS, donor=np.arange(40) % 4, age=np.linspace(20, 60, 40))
    described.to_csv("cells.csv", index=False)
    cells.to_csv("bare.csv", index=False)
    words = ["--likelihood", "Gaussian", "--network.hidden", "[4]", "--latent-dim", "2", "--epochs", "1"]
    with pytest.raises(SystemExit):
        main(["train", "--data", "cells.csv", *words, "--out", "run"])
    assert "(--beside kind)" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "--data", "cells.csv", *words, "--beside", "kinds", "--out", "run"])
    assert "got 'kinds'. Did you mean kind?" in capsys.readouterr().err
    main(["train", "--data", "cells.csv", *words, "--beside", "kind", "donor", "age", "--out", "run"])
    main(["train", "--data", "bare.csv", *words, "--out", "bare"])
    weights = [Path(run, "weights.safetensors").read_bytes() for run in ("run", "bare")]
    assert weights[0] == weights[1]
    run = load("run")
    assert run.data.columns == ("a", "b", "c")
    assert isinstance(run.data.given("test"), torch.Tensor)
    assert "; beside: kind, donor, age" in run.data.protocol
    main(["encode", "run", "cells.csv", "-o", "codes.csv"])
    codes = pd.read_csv("codes.csv")
    assert codes.label_kind.tolist() == KINDS.tolist()
    assert codes.label_donor.tolist() == described.donor.tolist()
    np.testing.assert_allclose(codes.label_age, described.age, rtol=1e-6)
    main(["encode", "run", "-o", "test_codes.csv"])
    test = pd.read_csv("test_codes.csv")
    assert test.label_kind.tolist() == described.kind[test.row].tolist()
    np.testing.assert_allclose(test.z_mean_0, codes.z_mean_0[test.row], rtol=1e-5, atol=1e-6)
    main(["encode", "run", "bare.csv", "-o", "bare_codes.csv"])
    assert not [name for name in pd.read_csv("bare_codes.csv") if name.startswith("label")]
    main(["score", "run", "cells.csv", "--anomalies", "NK", "--num-samples", "5", "--out", "scores.csv"])


def test_arrays_beside_x_and_what_cannot_be(tmp_path):
    x = np.random.default_rng(0).normal(size=(20, 3))
    np.savez(tmp_path / "cells.npz", images=x, age=np.arange(20.0), unused=np.zeros(20))
    for inputs in (None, {"x": "images"}):
        found = data.load(tmp_path / "cells.npz", inputs=inputs, beside=["age"], order="ordered")
        assert (found.main, [*found.others]) == ("images", ["age"])
        assert found.others["age"].test.tolist() == [18.0, 19.0]
    with pytest.raises(ValueError, match=r"images, age, unused of .*cells.npz; got 'agee'. Did you mean age\?"):
        data.load(tmp_path / "cells.npz", beside=["agee"])
    assert not data.load(tmp_path / "cells.npz", order="whole", beside=["agee"]).others
    with pytest.raises(ValueError, match="a file of arrays or a table, which can hold age beside x; got 'digits'"):
        data.load("digits", beside=["age"])
