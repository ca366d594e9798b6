"""Figures. Each function takes arrays or a pair and returns a matplotlib figure; pyplot's state is not touched."""

from .charts import (
    BLUE,
    GREY,
    INK,
    comparison_figure,
    curves,
    diagnostics_figure,
    latent_scatter,
    log_marginal_histogram,
    tidy,
    training_curves,
)
from .decoded import interpolations, manifold_figure, reconstructions, samples, traversals
from .images import (
    beside,
    check_images,
    drawable_among,
    image_grid,
    image_panels,
    image_rows,
    images_among,
    save_gif,
    tile,
)

__all__ = [
    "BLUE",
    "GREY",
    "INK",
    "beside",
    "check_images",
    "comparison_figure",
    "curves",
    "diagnostics_figure",
    "drawable_among",
    "image_grid",
    "image_panels",
    "image_rows",
    "images_among",
    "interpolations",
    "latent_scatter",
    "log_marginal_histogram",
    "manifold_figure",
    "reconstructions",
    "samples",
    "save_gif",
    "tidy",
    "tile",
    "training_curves",
    "traversals",
]
