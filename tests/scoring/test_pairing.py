"""Matching by name, and files that cannot be read."""

import numpy as np
import pytest
from PIL import Image

from perimetry import FileError, InputError, ShapeError
from perimetry.scoring.pages import open_pages
from perimetry.scoring.pairing import UnmatchedError, paired

SMALL, LARGE = np.zeros((2, 3), np.uint8), np.zeros((4, 3), np.uint8)


def test_everything_that_does_not_fit_is_told_at_once():
    with pytest.raises(UnmatchedError) as caught:
        paired({"a": SMALL, "b": SMALL, "c": SMALL}, {"b": LARGE, "c": SMALL, "d": SMALL, "e": SMALL})
    assert caught.value.problems == (
        "no prediction for 1 of 3: a",
        "no truth for 2 predictions: d, e",
        "sizes differ: b (2×3, predicted 4×3)",
    )
    assert caught.value.common == 1
    assert str(caught.value).endswith("--only-common (only_common=True) scores the 1 that fit")


def test_only_common_leaves_out_with_a_note():
    found, notes = paired({"a": SMALL, "b": SMALL, "c": SMALL}, {"b": LARGE, "c": SMALL}, only_common=True)
    assert [each.name for each in found] == ["c"]
    assert notes == ("left out: no prediction for 1 of 3: a", "left out: sizes differ: b (2×3, predicted 4×3)")
    with pytest.raises(UnmatchedError):
        paired({"a": SMALL}, {"b": SMALL}, only_common=True)  # nothing is left


def test_names_restrict_both_sides():
    found, notes = paired({"a": SMALL, "b": SMALL}, {"a": SMALL, "x": SMALL}, names=["a"])
    assert ([each.name for each in found], notes) == (["a"], ())
    with pytest.raises(InputError, match="the truth lacks 1 of the 2 images asked for: z"):
        paired({"a": SMALL}, {"a": SMALL}, names=["a", "z"])


def test_two_files_are_paired_whatever_their_names(tmp_path):
    Image.fromarray(SMALL).save(tmp_path / "truth.png")
    Image.fromarray(SMALL).save(tmp_path / "net.png")
    assert [each.name for each in paired(tmp_path / "truth.png", tmp_path / "net.png")[0]] == ["truth"]


def test_one_name_of_two_files_is_refused(tmp_path):
    Image.fromarray(SMALL).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", SMALL)
    with pytest.raises(InputError, match=r"a\.npy and a\.png, both named a"):
        paired(tmp_path, tmp_path)


def test_an_empty_folder_says_what_was_looked_for(tmp_path):
    (tmp_path / "readme.txt").write_text("no image")
    with pytest.raises(InputError, match=r"no image in the folder .* \(truth; looked for \.png, .*\.npy\)"):
        paired(tmp_path, tmp_path)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "CMYK"])
def test_colours_are_refused(tmp_path, mode):
    file = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new(mode, (3, 2)).save(file)
    with pytest.raises(InputError, match=f"holds colours \\({mode}\\).*palette or gray PNG"):
        open_pages(file)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[True, False]]), np.bool_),
        (np.array([[0, 200]], np.uint8), np.uint8),
        (np.array([[0, 60_000]], np.uint16), np.uint16),
    ],
)
def test_pixels_come_as_they_are(tmp_path, array, expected):
    for name in ("a.png", "a.tif"):
        Image.fromarray(array).save(tmp_path / name)
        pages = open_pages(tmp_path / name)
        assert pages.shape == (1, 1, 2)
        found = pages.page(0)
        assert found.dtype == expected
        np.testing.assert_array_equal(found, array)


def test_damaged_and_foreign_files_are_file_errors(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64)).astype(np.uint8)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[:2000])
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "text.npy").write_text("hello")
    np.save(tmp_path / "objects.npy", np.array([[object()]]), allow_pickle=True)
    np.save(tmp_path / "whole.npy", np.zeros((50, 50)))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:500])
    with pytest.raises(FileError, match=r"cut\.png cannot be read \(damaged or incomplete\)"):
        open_pages(tmp_path / "cut.png").page(0)
    for name in ("text.png", "text.npy", "objects.npy", "cut.npy", "none.png"):
        with pytest.raises(FileError, match=name.replace(".", r"\.")):
            open_pages(tmp_path / name)


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2, 2), (0, 3), (9, 9, 3)])
def test_other_shapes_are_refused(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape))
    with pytest.raises(ShapeError):
        open_pages(tmp_path / "a.npy")


def test_pages_of_different_sizes_are_refused(tmp_path):
    Image.fromarray(SMALL).save(tmp_path / "a.tif", save_all=True, append_images=[Image.fromarray(LARGE)])
    with pytest.raises(InputError, match="pages of 2×3 and of 4×3"):
        open_pages(tmp_path / "a.tif")


def test_more_pixels_than_the_limit_are_refused(tmp_path, monkeypatch):
    Image.fromarray(LARGE).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8)
    with pytest.raises(FileError, match="more than 8 pixels"):
        open_pages(tmp_path / "a.png")
