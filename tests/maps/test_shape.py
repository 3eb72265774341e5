"""The shape of a map, against sums written out, numpy's eigenvalues, and shapes whose numbers are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perimetry.errors import InputError
from perimetry.maps.measurement import load_npz, measure
from perimetry.maps.occlusion import occlude
from perimetry.maps.shape import shape_of


def by_loops(mass):
    """(deviations, eccentricity, kurtosis) pixel by pixel."""
    points = [(i, j, mass[i, j]) for i in range(mass.shape[0]) for j in range(mass.shape[1])]
    total = sum(w for _, _, w in points)
    centre = np.array([sum(i * w for i, _, w in points), sum(j * w for _, j, w in points)]) / total
    covariance = sum(w * np.outer(np.array((i, j)) - centre, np.array((i, j)) - centre) for i, j, w in points) / total
    shorter, longer = np.sqrt(np.clip(np.linalg.eigvalsh(covariance), 0, None))
    inverse = np.linalg.inv(covariance)
    fourth = sum(w * ((np.array((i, j)) - centre) @ inverse @ (np.array((i, j)) - centre)) ** 2 for i, j, w in points)
    return (longer, shorter), np.sqrt(1 - (shorter / longer) ** 2), fourth / total


@given(height=st.integers(3, 8), width=st.integers(3, 8), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_moments_are_those_of_plain_sums(height, width, seed):
    mass = np.random.default_rng(seed).random((height, width)) + 0.01
    above = mass > 0.6 * mass.max()
    deviations, eccentricity, kurtosis = by_loops(mass)
    found = shape_of(mass, above)
    assert found.deviations == pytest.approx(deviations)
    assert found.eccentricity == pytest.approx(eccentricity, abs=1e-6)
    assert found.kurtosis == pytest.approx(kurtosis)
    at = np.argwhere(above)
    assert found.fill == pytest.approx(len(at) / np.prod(at.max(0) - at.min(0) + 1))


def gaussian(rows, columns, turn=0.0):
    y, x = np.mgrid[-60:61, -60:61]
    a, b = x * np.cos(turn) + y * np.sin(turn), -x * np.sin(turn) + y * np.cos(turn)
    return np.exp(-(a**2 / columns**2 + b**2 / rows**2) / 2)


@pytest.mark.parametrize("turn", [0.0, 0.4, 1.1])
def test_a_gaussian_is_known_by_its_moments(turn):
    mass = gaussian(5.0, 10.0, turn)
    found = measure(mass, centre=(60, 60), threshold=0.1).shape
    assert found.deviations == pytest.approx((10, 5), rel=1e-4)
    assert found.eccentricity == pytest.approx(np.sqrt(0.75), rel=1e-4)
    assert found.kurtosis == pytest.approx(8, rel=1e-4)
    assert turn or found.fill == pytest.approx(np.pi / 4, rel=0.05)


def test_rectangles_peaks_lines_and_points():
    mass = np.zeros((80, 80))
    mass[10:70, 20:60] = 3
    box = measure(mass, centre=(40, 40)).shape
    assert box.fill == 1 and box.kurtosis == pytest.approx(5.6, abs=0.01)
    assert box.deviations == pytest.approx((60 / 12**0.5, 40 / 12**0.5), rel=1e-3)
    mass = gaussian(3, 3) + 0.05 * gaussian(15, 15)
    assert measure(mass, centre=(60, 60)).shape.kurtosis > 10
    line = measure(np.eye(9), centre=(4, 4)).shape
    assert (line.kurtosis, line.fill) == (None, 1 / 9)
    assert line.eccentricity == pytest.approx(1) and line.deviations[1] == pytest.approx(0, abs=1e-6)
    point = np.zeros((5, 5))
    point[1, 2] = 2
    assert measure(point, centre=(1, 2)).shape == shape_of(point, point > 0)
    assert (shape_of(point, point > 0).deviations, shape_of(point, point > 0).eccentricity) == ((0, 0), 0)
    assert measure(np.zeros((5, 5)), centre=(1, 2)).shape is None


def test_a_share_counts_what_exceeds_it(tmp_path):
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 5, padding=2), torch.nn.Conv2d(2, 1, 5, padding=2)).eval()
    image = torch.rand(1, 1, 20, 22, generator=torch.Generator().manual_seed(2))
    form = {"patch": 1, "stride": 1, "fill": "constant:0"}
    half = occlude(model, image, "output@9,11", share=0.5, **form)
    loose = occlude(model, image, "output@9,11", share=0.05, **form)
    for found, share in ((half, 0.5), (loose, 0.05)):
        size = np.abs(found.map)
        assert found.measured.threshold == share
        assert found.measured.area == (size > share * size.max()).sum() < 82
        assert found.measured.of_field == found.measured.area / 81
        assert found.measured.of_image == found.measured.area / 440
    assert half.measured.area < loose.measured.area
    assert loose.with_share(0.5).measured == half.measured
    loose.save_npz(tmp_path / "a.npz")
    assert load_npz(tmp_path / "a.npz").with_share(0.5).measured == half.measured
    assert set(half.to_dict()["measured"]["shape"]) == {"deviations", "eccentricity", "kurtosis", "fill"}
    with pytest.raises(InputError, match="share of the maximum"):
        occlude(model, image, "output@9,11", share=1.0, **form)
