"""Figures show what they are given where it belongs, and refuse what cannot be drawn; also from the command line."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.text import Text
from PIL import Image
from torch import nn

from pyro_vae import LogMarginal, compare, diagnose, encode, load, plots
from pyro_vae.commands.main import main
from pyro_vae.plots.evidence import khat_figure
from pyro_vae.plots.images import broken, text_width
from pyro_vae.runs.folder import title_of


class Ramp(nn.Module):
    """Two latents read off two pixels; an image is as bright as sigmoid(z_0) left and sigmoid(z_1) right."""

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            loc = z.sigmoid()[..., None, None, :].expand(*z.shape[:-1], 1, 2, 2)
            return pyro.sample("x", dist.Normal(loc, 1.0).to_event(3), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x[:, 0, 0].logit(eps=1e-3), 0.1).to_event(1))


def shades(count, channels=1, height=3, width=2):
    """Images of one shade each, the i-th i / count."""
    return (torch.arange(count) / count).view(-1, 1, 1, 1).expand(count, channels, height, width)


def tiles_of(page, *, side):
    """The images of 2 x 2 pixels on a page, (row, column, 2, 2), which are drawn 28 x 28, a line of 2 between them."""
    assert page.shape == (side * 30 - 2, side * 30 - 2)
    places = [i * 30 + shift for i in range(side) for shift in (0, 14)]
    assert (np.delete(page, [i for at in places for i in range(at, at + 14)], 0) == 1).all()  # white lines between
    return page[np.ix_(places, places)].reshape(side, 2, side, 2).swapaxes(1, 2)


def page_of(figure):
    """The picture on a figure, (H, W, 1 or 3)."""
    (axes,) = figure.axes
    page = np.asarray(axes.images[0].get_array())
    return page if page.ndim == 3 else page[..., None]  # matplotlib drops the one channel of a grey picture


@pytest.mark.parametrize("channels", [1, 3])
def test_images_stand_row_by_row(channels):
    page = plots.tile(shades(5, channels), columns=3)
    assert page.shape == (2 * 3 + 1, 3 * 2 + 2, channels)
    for i in range(5):
        top, left = (i // 3) * 4, (i % 3) * 3
        np.testing.assert_allclose(page[top : top + 3, left : left + 2], i / 5, rtol=1e-6)
    assert (page[4:, 6:] == 1).all()  # no sixth image: white
    assert (page[3] == 1).all()  # the line between


def test_an_image_is_neither_transposed_nor_mirrored_nor_inverted():
    x = torch.arange(6.0).view(1, 1, 2, 3) / 6
    np.testing.assert_allclose(page_of(plots.image_grid(x, columns=1))[..., 0], x[0, 0].numpy(), rtol=1e-6)
    (axes,) = plots.image_grid(x).axes
    assert axes.images[0].get_clim() == (0, 1)
    assert axes.images[0].origin == "upper"


def test_colours_keep_their_order():
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert page_of(plots.image_grid(red, columns=1))[0, 0].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("draw", "text"),
    [
        (lambda: plots.image_grid(torch.zeros(4, 64)), r"got \(4, 64\)\. Flat data have no picture"),
        (lambda: plots.image_grid(torch.zeros(4, 2, 8, 8)), r"Expected images of shape \(N, 1 or 3, H, W\)"),
        (lambda: plots.image_grid(shades(5), columns=2, rows=3), r"Expected a grid of 1 to 5 images, .*; got 3 x 2"),
        (lambda: plots.image_grid(shades(5), columns=0), "Expected a grid of 1 to 5 images"),
        (lambda: plots.image_rows({"a": shades(5), "b": shades(4)}), "Expected rows of the same number and shape"),
        (lambda: plots.samples(Ramp().model, torch.zeros(4, 64)), "Flat data have no picture"),
        (lambda: plots.latent_scatter(torch.zeros(4, 2), dims=(0, 2)), r"dimensions from 0 to 1; got \[0, 2\]"),
        (lambda: plots.latent_scatter(torch.zeros(4)), r"Expected codes of shape \(N, D\); got \(4,\)"),
        (
            lambda: plots.latent_scatter(torch.zeros(4, 2), torch.zeros(3)),
            r"label for each of 4 codes; got shape \(3,\)",
        ),
        (lambda: plots.save_gif([], "none.gif"), "Expected at least one figure"),
        (lambda: plots.traversals(Ramp().model, Ramp().guide, shades(1), dims=[0], limit=-1.0), "limit above 0, .* -1"),
        (
            lambda: plots.manifold_figure(Ramp().model, Ramp().guide, shades(5, 1, 2, 2), side=1),
            "Expected side >= 2; got 1",
        ),
    ],
)
def test_errors_say_what_was_expected(draw, text):
    with pytest.raises(ValueError, match=text):
        draw()


def test_fewer_rows_draw_the_first_images():
    assert np.array_equal(plots.tile(shades(6), columns=2, rows=1), plots.tile(shades(6)[:2], columns=2))


def test_rows_are_named_beside_their_images():
    figure = plots.image_rows({"original": shades(3, 1, 14, 14), "copy": shades(3, 1, 14, 14)})
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["original", "copy"]
    assert page_of(figure).shape == (29, 44, 1)
    assert 0 < axes.get_yticks()[0] < 14.5 < axes.get_yticks()[1] < 29


def test_reconstructions_stand_below_their_originals():
    ramp, x = Ramp(), torch.rand(3, 1, 2, 2).round()
    page = page_of(plots.reconstructions(ramp.model, ramp.guide, x, columns=2))
    assert page.shape == (4 * 2 + 3, 2 * 2 + 1, 1)  # two pairs of rows
    np.testing.assert_allclose(page[:2, :2, 0], x[0, 0])
    np.testing.assert_allclose(page[6:8, :2, 0], x[2, 0])


def test_a_manifold_grows_to_the_right_and_upwards():
    ramp, x = Ramp(), torch.rand(5, 1, 2, 2)
    figure = plots.manifold_figure(ramp.model, ramp.guide, x, side=4, limit=3.0)
    images = tiles_of(page_of(figure)[..., 0], side=4)
    axis = torch.linspace(-3, 3, 4).sigmoid().numpy()
    for row in range(4):
        np.testing.assert_allclose(images[row, :, 0, 0], axis, rtol=1e-5)
        np.testing.assert_allclose(images[:, row, 0, 1], axis[::-1], rtol=1e-5)
    (axes,) = figure.axes
    assert axes.get_xticklabels()[0].get_text() == "-3.0"
    assert axes.get_yticks()[0] > axes.get_yticks()[-1]  # pixels count downwards
    assert axes.get_yticklabels()[0].get_text() == "-3.0"


def test_a_manifold_stands_at_quantiles_of_the_prior():
    ramp = Ramp()
    figure = plots.manifold_figure(ramp.model, ramp.guide, torch.rand(5, 1, 2, 2), side=3)
    expected = dist.Normal(0.0, 1.0).icdf(torch.tensor([1 / 6, 1 / 2, 5 / 6])).sigmoid()
    np.testing.assert_allclose(tiles_of(page_of(figure)[..., 0], side=3)[0, :, 0, 0], expected, rtol=1e-5)
    assert figure.axes[0].get_xlabel() == "z[0], quantiles of its prior"


def test_traversals_have_a_row_for_each_dimension():
    ramp, x = Ramp(), torch.full((1, 1, 2, 2), 0.25)
    figure = plots.traversals(ramp.model, ramp.guide, x, dims=[1, 0], steps=3, limit=2.0)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["x, its mean", "z[1]", "z[0]"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["-2", "0", "2"]
    page = page_of(figure)[..., 0]
    np.testing.assert_allclose(page[:2, :2], 0.25)  # the image itself, and what its code decodes to
    np.testing.assert_allclose(page[:2, 3:5], 0.25, rtol=1e-5)
    page = page[3:]
    moved = torch.linspace(-2, 2, 3).sigmoid().numpy()
    np.testing.assert_allclose(page[0, 1::3], moved, rtol=1e-5)  # right pixel of the first row follows z_1
    np.testing.assert_allclose(page[0, 0::3], 0.25, rtol=1e-5)
    np.testing.assert_allclose(page[3, 0::3], moved, rtol=1e-5)


@pytest.mark.parametrize("path", ["linear", "sphere"])
def test_interpolations_end_at_the_two_images(path):
    ramp, start, end = Ramp(), torch.full((2, 1, 2, 2), 0.3), torch.rand(2, 1, 1, 2).expand(2, 1, 2, 2)
    page = page_of(plots.interpolations(ramp.model, ramp.guide, start, end, steps=4, path=path))
    assert page.shape == (5, 6 * 2 + 5 + 2, 1)  # half an image more between the images and their codes
    np.testing.assert_allclose(page[:2, :2, 0], start[0, 0])
    np.testing.assert_allclose(page[3:, -2:, 0], end[1, 0])
    np.testing.assert_allclose(page[:2, 4:6, 0], start[0, 0], rtol=1e-4)
    np.testing.assert_allclose(page[3:, -6:-4, 0], end[1, 0], rtol=1e-3)


def test_a_scatter_colours_each_class():
    codes, labels = torch.randn(50, 3), torch.arange(50) % 4
    figure = plots.latent_scatter(codes, labels, dims=(2, 0), title="codes")
    (axes,), (legend,) = figure.axes, figure.legends
    (points,) = axes.collections  # in one: no class lies under all others
    np.testing.assert_allclose(points.get_offsets(), codes[:, [2, 0]], rtol=1e-6)
    assert [text.get_text() for text in legend.get_texts()] == list("0123")
    for i in range(50):
        assert points.get_facecolors()[i, :3].tolist() == list(legend.legend_handles[i % 4].get_color()[:3])
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("z[2]", "z[0]", "codes")
    assert not plots.latent_scatter(torch.randn(50, 2)).legends
    figure = plots.latent_scatter(codes, [["T", "B"][i % 2] for i in range(50)])  # by their names, sorted
    (axes,), (legend,) = figure.axes, figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["B", "T"]
    colours, marks = axes.collections[0].get_facecolors()[:, :3], legend.legend_handles
    assert colours[:2].tolist() == [list(marks[1].get_color()[:3]), list(marks[0].get_color()[:3])]


LONG = "CD8+ naive helper memory effector cytotoxic T cell of the second donor"


@pytest.mark.parametrize(
    "names", [["Macrophage", "NK"], [LONG, "x" * 90, "NK"], ["_none", "a$b"], range(10), range(45)]
)
@pytest.mark.parametrize("width", [None, 2.0, 3.25, 6.9])
def test_names_of_classes_fit_below_a_scatter(names, width):
    """At any length and number, all of them, each with a colour of its own; the panel keeps its place."""
    labels = np.array(names)[np.arange(90) % len(names)]
    figure = plots.latent_scatter(torch.randn(90, 2), labels)
    figure = figure if width is None else plots.at_width(figure, width)
    figure.draw_without_rendering()
    (legend,), (axes,) = figure.legends, figure.axes
    written = [text.get_text().replace("\n", "").replace(" ", "") for text in legend.get_texts()]
    assert written == [str(name).replace(" ", "") for name in np.unique(names).tolist()]
    assert len({tuple(mark.get_color()) for mark in legend.legend_handles}) == len(names)
    page, box, panel = figure.bbox, legend.get_window_extent(), axes.get_tightbbox()
    assert page.x0 <= box.x0 < box.x1 <= page.x1
    assert page.y0 <= box.y0 < box.y1 <= panel.y0 < panel.y1 <= page.y1
    assert 2.2 < panel.height / figure.dpi < 3.4


def test_curves_over_epochs_have_whole_ticks():
    (axes,) = plots.curves({"a": (range(1, 21), [0.0] * 20)}, x_label="epoch", y_label="y").axes
    assert all(tick == round(tick) for tick in axes.get_xticks())
    (axes,) = plots.curves({"a": ([0.5, 1.0], [0.0, 1.0])}, x_label="rate", y_label="y").axes
    assert any(tick != round(tick) for tick in axes.get_xticks())


@pytest.mark.parametrize("count", [1, 3, 10, 30])
@pytest.mark.parametrize("title", ["", "a title that is longer than the picture of a single image can be"])
def test_a_figure_fits_its_picture(count, title):
    """No label is cut off, and nothing is left over but a little room around."""
    rows = {"original": shades(count, 1, 14, 14), "of a long name": shades(count, 1, 14, 14)}
    for figure in (plots.image_rows(rows, title=title), plots.image_grid(shades(count, 1, 14, 14), title=title)):
        figure.draw_without_rendering()
        drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert 0 <= drawn.x0 < 0.25
        assert 0 <= drawn.y0 < 0.25
        assert 0 <= width - drawn.x1 < 0.25
        assert 0 <= height - drawn.y1 < 0.25
        (axes,) = figure.axes
        box = axes.get_window_extent()
        page = page_of(figure)
        assert box.width / box.height == pytest.approx(page.shape[1] / page.shape[0])


def test_few_images_leave_no_empty_places():
    ramp, x = Ramp(), torch.rand(3, 1, 2, 2).round()
    assert page_of(plots.samples(ramp.model, x)).shape == (2, 3 * 2 + 2, 1)
    assert page_of(plots.reconstructions(ramp.model, ramp.guide, x)).shape == (2 * 2 + 1, 3 * 2 + 2, 1)


def test_many_images_stand_in_a_square():
    page = page_of(plots.samples(Ramp().model, torch.zeros(400, 1, 2, 2)))
    assert page.shape == (20 * 3 - 1, 20 * 3 - 1, 1)


def test_curves_hold_their_points():
    (axes,) = plots.curves({"a": ([1, 2], [3.0, 4.0]), "b": ([1], [2.0])}, x_label="x", y_label="y").axes
    assert axes.lines[0].get_xydata().tolist() == [[1, 3], [2, 4]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]


def test_an_animation_has_a_frame_for_each_figure(tmp_path):
    figures = [plots.image_grid(torch.full((4, 1, 4, 4), shade), columns=2) for shade in (0.1, 0.5, 0.9)]
    plots.save_gif(figures, tmp_path / "a.gif", milliseconds=100)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 3
        shown = []
        for frame in range(3):
            gif.seek(frame)
            assert gif.info["duration"] == (500 if frame == 2 else 100)
            shown.append(np.asarray(gif.convert("L"))[gif.height * 2 // 3, gif.width // 3])
    assert shown[0] < shown[1] < shown[2]


def test_a_missing_pixel_is_neither_white_nor_black():
    x = torch.tensor([0.0, 1.0, torch.nan, 0.5]).view(1, 1, 2, 2)
    page = plots.tile(x, columns=1)
    assert page.shape == (2, 2, 3)
    np.testing.assert_allclose(page[0], [[0, 0, 0], [1, 1, 1]])
    assert np.ptp(page[1, 0]) > 0.5  # no grey level
    ramp = Ramp()
    title = plots.reconstructions(ramp.model, lambda x: ramp.guide(x.nan_to_num()), x).axes[0].get_title()
    assert "orange: missing" in title


class Draws(Ramp):
    """Its p(x|z) has no mean in closed form."""

    def model(self, x):
        class NoMean(dist.Normal):
            @property
            def mean(self):
                raise NotImplementedError

            def expand(self, batch_shape, _instance=None):
                return super().expand(batch_shape, _instance or self)

        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            loc = z.sigmoid()[..., None, None, :].expand(*z.shape[:-1], 1, 2, 2)
            pyro.sample("x", NoMean(loc, 1.0).to_event(3), obs=x)


def test_draws_are_not_called_means():
    title = plots.samples(Draws().model, torch.zeros(4, 1, 2, 2), title="data").axes[0].get_title()
    assert "data\n" in title
    assert "draws of x" in title.replace("\n", " ")
    assert "means of p(x|z)" in plots.samples(Ramp().model, torch.zeros(4, 1, 2, 2)).axes[0].get_title()


@pytest.mark.parametrize(("count", "columns"), [(64, 8), (100, 10), (50, 10), (3, 3), (30, 10), (13, 13), (17, 8)])
def test_rows_are_full_where_they_can_be(count, columns):
    page = page_of(plots.samples(Ramp().model, torch.zeros(count, 1, 2, 2)))
    assert page.shape[1] == 3 * columns - 1
    page = page_of(plots.reconstructions(Ramp().model, Ramp().guide, torch.rand(count, 1, 2, 2)))
    assert count == 17 or count % ((page.shape[1] + 1) // 3) == 0


def history(count, first):
    kinds = ("validation_distortion", "validation_rate")
    return [
        {"epoch": i, "loss": first if i == 1 else 100 - i, "validation_elbo": i - 101.0, **dict.fromkeys(kinds, 5.0)}
        for i in range(1, count + 1)
    ]


def test_the_course_of_training_marks_the_best_epoch_and_what_it_cuts_off():
    left, right = plots.training_curves(history(20, 5000.0), best_epoch=7).axes
    assert all([*axes.lines[-1].get_xdata()] == [7, 7] for axes in (left, right))
    assert "best epoch, 7" in [text.get_text() for text in left.get_legend().get_texts()]
    assert [text.get_text() for text in left.texts] == ["\u2191 1 first epoch above, up to 5,000"]
    assert left.get_ylim()[1] < 200
    assert left.lines[0].get_xdata()[0] == 0.5  # a mean over the epoch stands in its middle
    for entries in (history(20, 101.0), history(5, 5000.0)):
        left = plots.training_curves(entries).axes[0]
        assert not left.texts
        assert left.get_ylim()[1] >= max(entry["loss"] for entry in entries)


NAMES = ["StandardNormal", "AutoregressiveFlow", "VampPrior"]


def wide_figures():
    """One of each kind, by name."""
    x, ramp = torch.rand(16, 1, 8, 8), Ramp()
    log_prob = torch.randn(30, generator=torch.Generator().manual_seed(0)).double() - 90
    error, khat = torch.full((30,), 0.1).double(), torch.linspace(0, 1, 30).double()

    def shifted(by):
        return LogMarginal(log_prob + by * log_prob.sin(), error, 100 * error, khat, torch.full((30,), 100))

    title = "a data set of a long name, 2,400 train / 300 validation / 300 test, " * 2
    return {
        "comparison": plots.comparison_figure(
            compare({name: shifted(0.1 * i) for i, name in enumerate(NAMES)}),
            title=title,
        ),
        "training": plots.training_curves(history(20, 5000.0), best_epoch=7, title=title),
        "diagnostics": plots.diagnostics_figure(
            diagnose(ramp.model, ramp.guide, torch.rand(20, 1, 2, 2), num_samples=10), title=title
        ),
        "khat": khat_figure(shifted(0.0), torch.rand(30, 1, 4, 4), title=title),
        "histogram": plots.log_marginal_histogram(shifted(0.0), title=title),
        "samples": plots.image_grid(x, columns=4, title=title),
        "rows": plots.image_rows({"original": x[:4], "copy": x[4:8]}, columns=["a", "b", "c", "d"], title=title),
        "panels": plots.image_panels({"samples": x, "test images, reconstructions below": x[:12]}),
    }


def test_figures_fit_a_column():
    """Nothing is cut off at 3.25 inches, ticks do not overlap, and letters have 6 to 9 points."""
    for name, figure in wide_figures().items():
        assert plots.at_width(figure, 3.25) is figure
        figure.draw_without_rendering()
        drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert width == pytest.approx(3.25), name
        assert min(drawn.x0, drawn.y0, width - drawn.x1, height - drawn.y1) > -0.02, (name, drawn)
        for axes in figure.axes:
            assert axes.get_position().width > 0.4, name  # of the figure: panels stand one below the other
            for axis, end in ((axes.xaxis, "x"), (axes.yaxis, "y")):
                boxes = [label.get_window_extent() for label in axis.get_ticklabels() if label.get_text()]
                spans = sorted((getattr(box, f"{end}0"), getattr(box, f"{end}1")) for box in boxes if axes.axison)
                inside = [s for s in spans if 0 <= s[0] <= 100 * max(width, height)]
                assert all(b[0] >= a[1] for a, b in itertools.pairwise(inside)), (name, end)
            sizes = {text.get_fontsize() for text in axes.findobj(Text) if text.get_text() and axes.axison}
            assert not sizes or (min(sizes) >= 6 and max(sizes) <= 9), (name, sizes)
        if name == "comparison":
            below = figure.axes[1].get_yticklabels()
            assert sorted(label.get_text() for label in below if label.get_visible()) == sorted(NAMES)


LONG_NAMES = [
    f"{prior} latent_dim={size}"
    for prior in ("StandardNormal", "GaussianMixture:num_components=5", "AutoregressiveFlow:base=VampPrior+hidden=64")
    for size in (2, 16)
]


@pytest.fixture(scope="module")
def long_names():
    """Six models of long names, log p(x) near -150 nats."""
    log_prob = 10 * torch.randn(30, generator=torch.Generator().manual_seed(0)).double() - 150
    error, khat = torch.full((30,), 0.1).double(), torch.zeros(30).double()
    moved = [log_prob + place * (3 + 2 * log_prob.sin()) for place in range(len(LONG_NAMES))]
    results = [LogMarginal(values, error, 100 * error, khat, torch.full((30,), 100)) for values in moved]
    return compare(dict(zip(LONG_NAMES, results, strict=True)))


def drawn_texts(figure):
    """What is written on a drawn figure, with its places; matplotlib keeps ticks beyond the ends, which it hides."""
    texts = figure.findobj(lambda part: isinstance(part, Text) and part.get_visible() and part.get_text())
    unseen = {tick.label2 for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for tick in axis.majorTicks}
    for axes in figure.axes:
        low, high = axes.get_xlim()
        pairs = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        unseen.update(label for place, label in pairs if not low <= place <= high)
    return [(text.get_text(), text.get_window_extent()) for text in texts if text not in unseen]


@pytest.mark.parametrize("width", [2.5, 3.25])
def test_long_names_leave_room_for_what_they_name(width, long_names):
    """No text lies on another or leaves the figure, names are whole, and intervals have 40% of the width."""
    title = f"digits\n* {LONG_NAMES[4]}: not trained as asked for"
    figure = plots.at_width(plots.comparison_figure(long_names, title=title), width)
    figure.draw_without_rendering()
    texts = drawn_texts(figure)
    for text, box in texts:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= figure.bbox.width, text
        assert box.y1 <= figure.bbox.height, text
    for (text, box), (other, beside) in itertools.combinations(texts, 2):
        assert not box.overlaps(beside), (text, other)
    upper, lower = figure.axes
    assert upper.get_position().y0 > lower.get_position().y1
    for axes in (upper, lower):
        assert axes.get_position().width >= 0.4
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert sorted("".join(name.split()) for name in names) == sorted(name.replace(" ", "") for name in LONG_NAMES)
        low, high = axes.get_xlim()
        assert sum(low <= place <= high for place in axes.get_xticks()) >= 2
    with pytest.raises(ValueError, match=r"height of at least \d+\.\d inches, for all names; got 2"):
        plots.at_width(plots.comparison_figure(long_names), width, height=2.0)


def test_names_break_where_a_reader_expects_it():
    name = "GaussianMixture:num_components=5 latent_dim=16"
    assert broken(name, width=9.0, size=8) == name
    assert broken(name, width=2.3, size=8) == "GaussianMixture:num_components=5\nlatent_dim=16"
    assert broken(name, width=1.2, size=8) == "GaussianMixture:\nnum_components=5\nlatent_dim=16"
    lines = broken("x" * 100, width=1.0, size=8).splitlines()
    assert "".join(lines) == "x" * 100
    assert max(text_width(line, size=8) for line in lines) <= 1.0


@pytest.mark.parametrize("width", [1.5, 3.25])
def test_long_words_of_titles_leave_a_picture_its_width(width):
    title = "digits\u00a0of\u00a0ours \u00b7 digits-CouplingFlow-DiscretizedLogisticMixture-seed0"
    figure = plots.at_width(plots.image_grid(shades(16), columns=4, title=title), width)
    assert figure.get_figwidth() == pytest.approx(width)
    figure.draw_without_rendering()
    box = figure.axes[0].title.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert box.y1 <= figure.bbox.height


def test_a_width_has_its_limits():
    with pytest.raises(ValueError, match="width of at least 1 inch; got 0"):
        plots.at_width(plots.image_grid(shades(4)), 0.0)
    with pytest.raises(ValueError, match="Expected no height for images"):
        plots.at_width(plots.image_grid(shades(4)), 3.0, height=2.0)
    figure = plots.at_width(plots.training_curves(history(20, 101.0)), 6.0, height=2.0)
    assert figure.get_size_inches().tolist() == [6.0, 2.0]
    figure.draw_without_rendering()
    assert figure.axes[0].get_position().y0 == pytest.approx(figure.axes[1].get_position().y0, abs=0.02)


def test_no_khat_is_cut_off():
    error = torch.full((40,), 0.1).double()
    khat = torch.linspace(0, 12, 40).double()
    khat[3], khat[5] = torch.nan, torch.inf
    result = LogMarginal(error, error, 100 * error, khat, torch.full((40,), 100))
    left = khat_figure(result, torch.rand(40, 6)).axes[0]
    drawn = left.collections[0].get_offsets()[:, 1]
    np.testing.assert_allclose(drawn, khat[khat.isfinite()].sort().values)
    assert left.get_ylim()[1] > 12
    assert "2 without one" in left.get_xlabel()


def test_bars_of_information_are_not_dwarfed_by_the_distortion():
    ramp = Ramp()
    result = diagnose(ramp.model, ramp.guide, torch.rand(20, 1, 2, 2), num_samples=4)
    right = plots.diagnostics_figure(result).axes[1]
    names = [label.get_text() for label in right.get_yticklabels()]
    assert names[0] == "rate"
    assert not any("distortion" in name for name in names)
    assert f"distortion {result.distortion.value:.2f}" in right.get_title()


# The commands


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    small = ["--epochs", "1", "--latent-dim", "3", "--network", "MLP", "--network.hidden", "[8]"]
    main(["train", *small, "--out", str(folder / "images")])
    np.save(folder / "flat.npy", np.random.default_rng(0).integers(0, 2, (40, 6)).astype(np.float32))
    main(["train", *small, "--data", str(folder / "flat.npy"), "--out", str(folder / "flat")])
    return folder


@pytest.fixture(autouse=True)
def _same_path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.parametrize(
    ("command", "file"),
    [
        (["sample", "--num-samples", "4"], "samples.png"),
        (["reconstruct", "--num-images", "4"], "reconstructions.png"),
        (["traverse", "--dims", "[0,2]", "--steps", "3"], "traversals.png"),
        (["traverse"], "traversals.png"),
        (["traverse", "--toward", "3", "--away", "8", "--steps", "4"], "traversals.png"),
        (["sample", "--num-samples", "6", "--nearest", "2", "--temperature", "0.8"], "samples.png"),
        (["sample", "--num-samples", "4", "--truncation", "2"], "samples.png"),
        (["interpolate", "--num-rows", "2", "--path", "sphere"], "interpolations_sphere.png"),
        (["manifold", "--side", "4", "--dims", "[0,2]"], "manifold.png"),
        (["manifold", "--side", "4"], "manifold.png"),
    ],
)
def test_commands_draw_a_run(run, command, file, capsys):
    name, *options = command
    main([name, str(run / "images"), *options])
    assert f"saved in {run / 'images' / file}" in capsys.readouterr().out
    with Image.open(run / "images" / file) as picture:
        assert min(picture.size) > 100
    Path(run / "images" / file).unlink()


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["traverse", "images", "--dims", "[0,3]"], "Expected latent dimensions from 0 to 2; got 3."),
        (["traverse", "images", "--steps", "1"], "Expected --steps >= 2; got 1."),
        (["manifold", "images", "--dims", "[0,7]"], "Expected latent dimensions from 0 to 2; got 7."),
        (["manifold", "images", "--dims", "[1]"], "Expected two different latent dimensions; got [1]."),
        (
            ["manifold", "images", "--limit", "-2"],
            "Expected a limit above 0, the axis goes from minus it to it; got -2.",
        ),
        (["traverse", "images", "--dims", "3"], "Expected --dims to be a list such as [0,3] or null; got 3."),
        (["manifold", "images", "--dims", "[1,1]"], "Expected two different latent dimensions; got [1, 1]."),
        (
            ["interpolate", "images", "--num-rows", "151"],
            "Expected --num-rows from 1 to 150, all of the test data; got 151.",
        ),
        (["interpolate", "images", "--steps", "1"], "Expected steps >= 2; got 1."),
        (["sample", "images", "--temperature", "0"], "Expected temperature > 0; got 0.0."),
        (["sample", "images", "--nearest", "-1"], "Expected --nearest >= 0; got -1."),
        (["traverse", "images", "--toward", "12"], "Expected a class among the labels of digits, 0, 1, 2, 3, 4, 5, 6,"),
        (["traverse", "images", "--toward", "2", "--limit", "-1"], "Expected --limit > 0; got -1."),
        (["traverse", "images", "--away", "2"], "Expected --away with another class given by --toward; got None."),
        (["traverse", "images", "--toward", "2", "--dims", "[0]"], "Expected --dims or --toward; got both."),
        (["interpolate", "images", "--path", "round"], "Expected --path to be linear or sphere"),
        (
            ["reconstruct", "images", "--num-images", "301"],
            "Expected --num-images from 1 to 300, all of the test data; got 301.",
        ),
        *[([command, "flat"], "Flat data have no picture") for command in ("traverse", "manifold", "sample")],
        (["reconstruct", "flat", "--num-images", "2"], "Flat data have no picture"),
        (["interpolate", "flat", "--num-rows", "1"], "Flat data have no picture"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(run, command, text, capsys):
    name, folder, *options = command
    with pytest.raises(SystemExit):
        main([name, str(run / folder), *options])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert text in line


@pytest.mark.parametrize(("suffix", "begins"), [("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_a_figure_has_the_format_of_its_suffix(run, tmp_path, suffix, begins):
    main(["sample", str(run / "images"), "--num-samples", "2", "--out", str(tmp_path / f"new/a.{suffix}")])
    assert (tmp_path / f"new/a.{suffix}").read_bytes().startswith(begins)


def test_numbers_instead_of_a_figure(run, tmp_path, capsys):
    """Also of flat data, which have no picture."""
    loaded = load(run / "flat")
    x = loaded.data.test
    main(["sample", str(run / "flat"), "--num-samples", "5", "--out", str(tmp_path / "a.npz")])
    main(["sample", str(run / "flat"), "--num-samples", "5", "--out", str(tmp_path / "a.npy")])
    with np.load(tmp_path / "a.npz") as saved:
        assert saved["draws"].shape == saved["means"].shape == (5, 6)
        np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), saved["draws"])
    main(["reconstruct", str(run / "flat"), "--num-images", "2", "--out", str(tmp_path / "b.npz")])
    with np.load(tmp_path / "b.npz") as saved:
        rows = x.numpy().tolist()
        assert all(row in rows for row in saved["originals"].tolist())
    main(["encode", str(run / "flat")])
    with np.load(run / "flat" / "codes.npz") as saved:
        np.testing.assert_allclose(saved["z"], encode(loaded.model, loaded.guide, x)["z"], rtol=1e-5)
    main(["encode", str(run / "images"), "--split", "validation", "--out", str(tmp_path / "c.npz")])
    with np.load(tmp_path / "c.npz") as saved:
        assert saved["z"].shape == (300, 3)
        np.testing.assert_array_equal(saved["labels"], load(run / "images").data.labels.validation)
    with pytest.raises(SystemExit):
        main(["manifold", str(run / "images"), "--out", str(tmp_path / "a.npz")])
    assert "Expected --out to be a file that ends in .png, .pdf, .svg; got" in capsys.readouterr().err


def test_figures_of_a_run_say_which_it_is(run):
    assert title_of(run / "images").replace("\u00a0", " ") == "scikit-learn digits · images · epoch 1 of 1"
