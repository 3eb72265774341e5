"""Photos: the same pixels as torchvision's preprocessing, every mode, and one clear error for every bad file."""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

import perimetry
from perimetry import FileError, InputError, ShapeError, load_photo
from perimetry.images import sample_photo

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (232, 224), (342, 299), (224, 224), (300, 96)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_equals_torchvision_preprocessing(resize, crop, interpolation):
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    mode = v2.InterpolationMode.BILINEAR if interpolation == "bilinear" else v2.InterpolationMode.BICUBIC
    theirs = v2.Compose(
        [
            v2.Resize(resize, interpolation=mode),
            v2.CenterCrop(crop),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
        ]
    )(Image.open(sample_photo()))
    ours, photo = load_photo(
        sample_photo(), (crop, crop), mean=mean, std=std, resize=resize, interpolation=interpolation
    )
    torch.testing.assert_close(ours[0], theirs, rtol=0, atol=1e-6)  # float32 rounding of the normalisation only
    assert (photo.height, photo.width, len(photo.pixels)) == (crop, crop, crop * crop * 3)


def test_pixels_are_what_the_model_saw():
    image, photo = load_photo(sample_photo(), (50, 70), **PLAIN)
    pixels = np.frombuffer(photo.pixels, np.uint8).reshape(50, 70, 3)
    np.testing.assert_array_equal((image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8), pixels)


@pytest.mark.parametrize("size", [(64, 64), (31, 97), (97, 31), (1, 1)])
def test_without_a_short_side_the_photo_just_covers_the_size(size):
    image, photo = load_photo(Image.new("RGB", (40, 60), (255, 0, 0)), size, **PLAIN)
    assert image.shape == (1, 3, *size)
    assert image[0, 0].min() == 1.0
    assert (photo.height, photo.width) == size


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("L", 51, (51, 51, 51)),
        ("1", 1, (255, 255, 255)),
        ("LA", (0, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("I;16", 257 * 80, (80, 80, 80)),
        ("I", 257 * 80, (80, 80, 80)),
        ("P", 0, (0, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb(mode, color, expected):
    image, _ = load_photo(Image.new(mode, (8, 8), color), (8, 8), **PLAIN)
    assert tuple((image[0, :, 4, 4] * 255).round().int().tolist()) == expected


def test_gray_models_get_one_channel():
    image, photo = load_photo(Image.new("RGB", (8, 8), (255, 255, 255)), (8, 8), mean=[0.5], std=[0.5], channels=1)
    assert image.shape == (1, 1, 8, 8)
    assert image.unique().tolist() == [1.0]
    assert len(photo.pixels) == 8 * 8 * 3


def test_exif_orientation_is_honoured(tmp_path):
    photo = Image.new("RGB", (20, 10), (0, 0, 255))
    photo.paste((255, 0, 0), (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the left edge is the top
    photo.save(tmp_path / "turned.png", exif=exif)
    image, _ = load_photo(tmp_path / "turned.png", (20, 10), **PLAIN)
    assert image[0, 0, 2].min() == 1
    assert image[0, 2, 17].min() == 1


def test_a_very_long_strip_takes_little_memory():
    image, _ = load_photo(Image.new("RGB", (60000, 1), (255, 255, 255)), (64, 64), **PLAIN)
    assert image.min() == 1


def test_usual_formats(tmp_path):
    paths = [str(tmp_path / f"photo.{suffix}") for suffix in ("webp", "tif", "gif", "bmp", "ppm", "jpg", "png")]
    for path in paths:
        Image.new("RGB", (16, 16), (255, 255, 255)).save(path)
    code = f"from perimetry import load_photo\nfor path in {paths}: load_photo(path, (8, 8), mean=[0] * 3, std=[1] * 3)"
    # In a fresh process: Pillow loads its readers late, and saving the photos has loaded them here.
    environment = {**os.environ, "PYTHONPATH": str(Path(perimetry.__file__).parents[1])}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_missing_file(tmp_path):
    with pytest.raises(FileError, match=r"no such photo: .*nothing\.png"):
        load_photo(tmp_path / "nothing.png", (8, 8), **PLAIN)
    with pytest.raises(FileError, match="is not a file"):
        load_photo(tmp_path, (8, 8), **PLAIN)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff\xe0 no jpeg", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_no_photo(tmp_path, content):
    (tmp_path / "photo.jpg").write_bytes(content)
    with pytest.raises(FileError, match=r"photo.jpg (is not a photo that can be read|cannot be read as a photo)"):
        load_photo(tmp_path / "photo.jpg", (8, 8), **PLAIN)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_photo(tmp_path, share):
    content = sample_photo().read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(
        FileError, match=r"cut.jpg (is not a photo|cannot be read as a photo \(damaged or incomplete\))"
    ):
        load_photo(tmp_path / "cut.jpg", (8, 8), **PLAIN)


@pytest.mark.parametrize("side", [9500, 60000])
def test_a_decompression_bomb_is_refused_without_unpacking(tmp_path, side):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    packed = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(packed)
    with pytest.raises(FileError, match=f"more than {Image.MAX_IMAGE_PIXELS} pixels"):
        load_photo(tmp_path / "bomb.png", (8, 8), **PLAIN)


def test_photos_that_cannot_be_shown_to_the_model():
    with pytest.raises(ShapeError, match="takes 4 channels, a photo has 1 or 3"):
        load_photo(sample_photo(), (8, 8), mean=[0] * 4, std=[1] * 4, channels=4)
    with pytest.raises(InputError, match="expected 3 means"):
        load_photo(sample_photo(), (8, 8), mean=[0], std=[1])
    with pytest.raises(FileError, match="floating-point"):
        load_photo(Image.new("F", (8, 8)), (8, 8), **PLAIN)
    with pytest.raises(FileError, match="no pixels"):
        load_photo(Image.new("RGB", (0, 8)), (8, 8), **PLAIN)
