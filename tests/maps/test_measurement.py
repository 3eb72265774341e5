"""Measuring a map: against loops that try every square and every circle, and files that come back the same."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perimetry.errors import FileError, InputError, ShapeError
from perimetry.geometry import Box, Span
from perimetry.maps.effective import effective_field
from perimetry.maps.measurement import RADII, SHARES, load_npz, measure


def share_by_trying(mass, centre, share):
    """Area of the smallest centred odd square, cut off at the border, that holds more than the share."""
    row, column = int(np.floor(centre[0])), int(np.floor(centre[1]))
    for half in range(sum(mass.shape)):
        square = mass[max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1]
        if square.sum() > share * mass.sum():
            return square.size / mass.size
    raise AssertionError


def radius_by_trying(mass, centre, share):
    distances = {
        (i, j): np.hypot(i - centre[0], j - centre[1]) for i in range(mass.shape[0]) for j in range(mass.shape[1])
    }
    for radius in sorted(set(distances.values())):
        if sum(mass[at] for at, distance in distances.items() if distance <= radius) >= share * mass.sum():
            return radius
    raise AssertionError


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 1000),
    row=st.integers(0, 16),
    column=st.integers(0, 16),
)
@settings(max_examples=60, deadline=None)
def test_shares_and_radii_are_those_found_by_trying(height, width, seed, row, column):
    # Whole numbers add up exactly, so that both ways compare the same sums; halves are middles between pixels.
    mass = np.random.default_rng(seed).integers(0, 9, (height, width)).astype(np.float64)
    mass[0, 0] += 1
    centre = (min(row / 2, height - 1), min(column / 2, width - 1))
    found = measure(mass, centre=centre, threshold=0.3)
    assert found.shares == pytest.approx({key: share_by_trying(mass, centre, share) for key, share in SHARES.items()})
    assert found.radii == pytest.approx({key: radius_by_trying(mass, centre, share) for key, share in RADII.items()})
    above = np.argwhere(mass > 0.3 * mass.max())
    assert (found.area, found.size**2) == (len(above), pytest.approx(len(above)))
    assert found.extent == tuple(int(n) for n in above.max(0) - above.min(0) + 1)


def test_a_uniform_map_has_the_published_shares():
    found = measure(np.ones((11, 11)), centre=(5, 5))
    # side^2 / 121 > share: 5, 7 (49 > 36.3), 9 (81 > 60.5) and 11.
    assert found.shares == {"r20": 25 / 121, "r30": 49 / 121, "r50": 81 / 121, "r99": 1.0}
    assert found.of_image == 1.0


def test_fractions_of_the_field_and_of_the_image():
    mass = np.zeros((4, 10))
    mass[1, 2:5] = (1, -2, 1)
    found = measure(mass, centre=(1, 3), threshold=0.4, field_box=Box((Span(0, 2), Span(1, 5))))
    assert (found.area, found.extent, found.of_field, found.of_image) == (3, (1, 3), 3 / 15, 3 / 40)


def test_a_map_of_zeros_measures_nothing():
    found = measure(np.zeros((3, 3)), centre=(1, 1))
    assert (found.area, found.extent, found.shares["r99"], found.radii["d99"]) == (0, (0, 0), 0.0, 0.0)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ShapeError, match=r"expected a map \(H, W\), got shape \(3,\)"):
        measure(np.ones(3), centre=(0, 0))
    with pytest.raises(InputError, match="NaN or infinite"):
        measure(np.array([[np.nan]]), centre=(0, 0))
    with pytest.raises(InputError, match="threshold from 0 to below 1"):
        measure(np.ones((2, 2)), centre=(0, 0), threshold=1.0)


@pytest.fixture(scope="module")
def unit_map():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3, stride=2), torch.nn.Conv2d(2, 2, 3)).eval()
    return effective_field(model, 2, "1:1@3,4", seed=3)


def test_a_saved_map_comes_back(unit_map, tmp_path):
    unit_map.save_npz(tmp_path / "map.npz")
    found = load_npz(tmp_path / "map.npz")
    np.testing.assert_array_equal(found.map, unit_map.map)
    assert found.target == unit_map.target
    assert found.target.field.clipped((3, 4)) == unit_map.target.clipped
    assert found.measured == unit_map.measured
    told, original = found.to_dict(), unit_map.to_dict()
    assert original["facts"].pop("seconds") > 0
    assert told == original


def test_the_same_map_is_the_same_file(unit_map, tmp_path):
    for name in ("a.npz", "b.npz"):
        unit_map.save_npz(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert file["map"].dtype == np.float32


def test_json_begins_with_the_stable_keys(unit_map):
    told = json.loads(unit_map.to_json())
    assert list(told)[:8] == ["schema", "model", "unit", "method", "convention", "field", "measured", "images"]
    assert list(told["measured"])[:6] == ["area", "extent", "r20", "r30", "r50", "r99"]
    assert told["field"] == {"size": [7, 7], "stride": [2, 2], "start": [0, 0], "uniform": True}
    assert (told["position"], told["channel"], told["images"]) == ([3, 4], 1, 2)


def test_files_that_cannot_be_written_or_read_are_told(unit_map, tmp_path):
    with pytest.raises(InputError, match="it is a directory"):
        unit_map.save_npz(tmp_path)
    with pytest.raises(InputError, match="No such file or directory"):
        unit_map.save_npz(tmp_path / "nowhere" / "map.npz")
    (tmp_path / "no.npz").write_bytes(b"not a map")
    with pytest.raises(FileError, match="is not a map that perimetry saved"):
        load_npz(tmp_path / "no.npz")
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    with pytest.raises(FileError, match="is not a map that perimetry saved"):
        load_npz(tmp_path / "other.npz")
    with pytest.raises(FileError, match="no such file"):
        load_npz(tmp_path / "missing.npz")
