"""Shape: how round, how full and how peaked a measured map is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of the magnitudes of a map, from their moments around their own centroid.

    deviations: standard deviations along the principal axes in pixels, the longer one first. eccentricity:
    sqrt(1 - (shorter / longer)^2), 0 for round, 1 for a line.
    kurtosis: the mean of the fourth power of the distance in units of those deviations (Mardia 1970, "Measures of
    multivariate skewness and kurtosis with applications"): 8 for a Gaussian, 5.6 for a full rectangle, more where a
    peak stands on wide tails; None where all mass lies on a line, and there are no two deviations to divide by.
    fill: the area above the threshold divided by its bounding box's: 1 for a rectangle, 0.785 for an ellipse.
    """

    deviations: tuple[float, float]
    eccentricity: float
    kurtosis: float | None
    fill: float


def shape_of(mass: npt.NDArray[Any], above: npt.NDArray[np.bool_]) -> Shape | None:
    """The shape of a map of magnitudes (H, W), `above` being where they exceed the threshold; None for zeros.

    >>> shape_of(np.ones((5, 5)), np.ones((5, 5), dtype=bool)).deviations
    (1.4142135623730951, 1.4142135623730951)
    """
    total = float(mass.sum())
    if total == 0:
        return None
    weights = mass / total
    rows, columns = np.arange(mass.shape[0]), np.arange(mass.shape[1])
    by_row, by_column = weights.sum(axis=1), weights.sum(axis=0)
    down = (rows - float(by_row @ rows))[:, None]
    across = (columns - float(by_column @ columns))[None]
    vertical, horizontal = float(by_row @ down[:, 0] ** 2), float(by_column @ across[0] ** 2)
    mixed = float(down[:, 0] @ weights @ across[0])
    # Eigenvalues of [[vertical, mixed], [mixed, horizontal]].
    middle, half = (vertical + horizontal) / 2, float(np.hypot((vertical - horizontal) / 2, mixed))
    longer, shorter = middle + half, max(0.0, middle - half)
    determinant = vertical * horizontal - mixed**2
    kurtosis = None
    if determinant > 1e-9 * longer**2 and longer > 0:
        squared = (horizontal * down**2 - 2 * mixed * down * across + vertical * across**2) / determinant
        kurtosis = float((weights * squared**2).sum())
    lines, posts = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
    return Shape(
        deviations=(float(np.sqrt(longer)), float(np.sqrt(shorter))),
        eccentricity=float(np.sqrt(1 - shorter / longer)) if longer > 0 else 0.0,
        kurtosis=kurtosis,
        fill=float(above.sum()) / ((lines[-1] - lines[0] + 1) * (posts[-1] - posts[0] + 1)) if len(lines) else 0.0,
    )
