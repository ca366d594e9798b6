"""Figures. Each function takes arrays or a pair and returns a matplotlib figure; pyplot's state is not touched."""

import types
import typing

from .charts import BLUE as BLUE
from .charts import GREY as GREY
from .charts import INK as INK
from .charts import curves as curves
from .charts import diagnostics_figure as diagnostics_figure
from .charts import log_marginal_histogram as log_marginal_histogram
from .charts import tidy as tidy
from .charts import training_curves as training_curves
from .compared import comparison_figure as comparison_figure
from .decoded import attribute_walks as attribute_walks
from .decoded import beside_nearest as beside_nearest
from .decoded import interpolations as interpolations
from .decoded import manifold_figure as manifold_figure
from .decoded import reconstructions as reconstructions
from .decoded import said_noise as said_noise
from .decoded import samples as samples
from .decoded import traversals as traversals
from .images import beside as beside
from .images import check_images as check_images
from .images import drawable_among as drawable_among
from .images import image_grid as image_grid
from .images import image_panels as image_panels
from .images import image_rows as image_rows
from .images import images_among as images_among
from .images import save_gif as save_gif
from .images import tile as tile
from .scatter import latent_scatter as latent_scatter
from .widths import at_width as at_width

if not typing.TYPE_CHECKING:  # which knows it from the imports
    __all__ = [name for name in dir() if not (name.startswith("_") or isinstance(globals()[name], types.ModuleType))]
