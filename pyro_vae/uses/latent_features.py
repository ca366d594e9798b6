"""A trained pair as a transformer of scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from ..arguments.at_least import at_least
from ..pairs.batch import taking
from ..pairs.checks import check_data
from ..pairs.contexts import evaluating, unvalidated
from ..pairs.inputs import as_points
from .generate import encode_with_scales


class LatentFeatures(TransformerMixin, BaseEstimator):
    """The codes of a trained pair as features, for pipelines of scikit-learn: means of q(z|x), and scales if wanted.

    `fit` trains nothing: it looks at the shape of X and tries the pair on it; clones share the pair. The pair sees X as
    it is, so that data which were binarized for its training have to be binarized before.

    Args:
        pair: a module with the methods model and guide, a `Run`, or a tuple (model, guide).
        scales: whether the standard deviations of q follow the means.
        event_shape: shape of one data point, where X has flat rows; by default what the pair says, else the rows' own.
        batch_size: data points that are encoded together.
        seed: of the draws that deeper levels are conditioned on.

    Attributes:
        n_features_in_: values of a row of X; of more dimensions, the first of them.
        event_shape_: shape of one data point.
        feature_names_: SITE_mean_0, ... and SITE_scale_0, ..., see `get_feature_names_out`.

    Raises:
        ValueError: X of another shape than the pair takes, values outside the support of its likelihood, or scales of a
            q that has none in closed form.

    Example:
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.pipeline import make_pipeline
        >>> from pyro_vae import MLP, Bernoulli, GaussianEncoder, StandardNormal, VAE
        >>> vae = VAE(StandardNormal(2), GaussianEncoder(9, 2), MLP(2, 9), Bernoulli(9))
        >>> x, y = np.eye(9).repeat(4, 0), np.arange(9).repeat(4)
        >>> make_pipeline(LatentFeatures(vae), LogisticRegression()).fit(x, y).predict(x).shape
        (36,)
    """

    def __init__(
        self,
        pair: Any,
        *,
        scales: bool = False,
        event_shape: Sequence[int] | None = None,
        batch_size: int = 1000,
        seed: int = 0,
    ) -> None:
        self.pair = pair
        self.scales = scales
        self.event_shape = event_shape
        self.batch_size = batch_size
        self.seed = seed

    def fit(self, X: Any, y: Any = None) -> LatentFeatures:
        """Look at the shape of X, (N, D) or (N, ...), and try the pair on a data point."""
        at_least(1, batch_size=self.batch_size)
        rows = validate_data(self, X, allow_nd=True, dtype="numeric")
        self.event_shape_ = self._shape_of_one(rows.shape[1:])
        _, self.feature_names_ = self._encode(self._points(rows[:1]))
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Features (N, F), of the floating-point type of X, else float64."""
        check_is_fitted(self)
        rows = validate_data(self, X, allow_nd=True, dtype="numeric", reset=False)
        if math.prod(rows.shape[1:]) != math.prod(self.event_shape_):
            raise ValueError(f"Expected X with data points of shape {self.event_shape_}; got {rows.shape[1:]}.")
        pieces = [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]
        parts = [self._encode(self._points(part))[0] for part in pieces]
        return np.concatenate(parts).astype(rows.dtype if rows.dtype.kind == "f" else np.float64)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the features; those of X have no say in them."""
        check_is_fitted(self)
        return np.asarray(self.feature_names_, dtype=object)

    def __sklearn_clone__(self) -> LatentFeatures:
        """Another one around the same pair: nothing here trains it, and copies of networks take memory."""
        return type(self)(**self.get_params(deep=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _functions(self) -> tuple[Any, Any]:
        return self.pair if isinstance(self.pair, tuple) else (self.pair.model, self.pair.guide)

    def _shape_of_one(self, given: tuple[int, ...]) -> tuple[int, ...]:
        said = self.event_shape
        if said is None and not isinstance(self.pair, tuple):
            likelihood = getattr(self.pair, "likelihood", None)
            said = getattr(self.pair, "about", {}).get("event_shape") or getattr(likelihood, "event_shape", None)
        shape = given if said is None else tuple(said)
        if math.prod(given) != math.prod(shape):
            raise ValueError(
                f"Expected X with data points of shape {shape}, or flat ones of {math.prod(shape)} values, as the pair "
                f"takes them; got {given}."
            )
        return shape

    def _points(self, rows: np.ndarray) -> Any:
        shaped = np.ascontiguousarray(rows).reshape(len(rows), *self.event_shape_)
        return as_points("X", shaped, *self._functions())

    def _encode(self, points: Any) -> tuple[np.ndarray, list[str]]:
        model, guide = taking(points, *self._functions())
        with evaluating(model, guide), unvalidated():
            check_data(model, guide, [points])
        columns: list[Tensor] = []
        names: list[str] = []
        found = encode_with_scales(*self._functions(), points, seed=self.seed)
        for place, kind in enumerate(["mean", "scale"] if self.scales else ["mean"]):
            for site, code in found.items():
                values = code[place]
                if values is None:
                    raise ValueError(f"Expected q with a scale in closed form at {site!r}; got none. Use scales=False.")
                columns.append(values.reshape(len(values), -1).cpu())
                names += [f"{site}_{kind}_{i}" for i in range(columns[-1].shape[1])]
        return torch.cat(columns, 1).numpy(), names
