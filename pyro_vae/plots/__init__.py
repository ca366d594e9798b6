"""Figures. Each function takes arrays or a pair and returns a matplotlib figure; pyplot's state is not touched."""

from .charts import (
    BLUE,
    GREY,
    INK,
    curves,
    diagnostics_figure,
    log_marginal_histogram,
    tidy,
    training_curves,
)
from .compared import comparison_figure
from .decoded import (
    attribute_walks,
    beside_nearest,
    interpolations,
    manifold_figure,
    reconstructions,
    said_noise,
    samples,
    traversals,
)
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
from .scatter import latent_scatter
from .widths import at_width

__all__ = [
    "BLUE",
    "GREY",
    "INK",
    "at_width",
    "attribute_walks",
    "beside",
    "beside_nearest",
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
    "said_noise",
    "samples",
    "save_gif",
    "tidy",
    "tile",
    "training_curves",
    "traversals",
]
