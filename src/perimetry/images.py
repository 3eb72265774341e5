"""Photos: reading a file that may be anything, and preparing it as a model takes it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from perimetry.errors import FileError, InputError, ShapeError
from perimetry.records import Photo

Interpolation = Literal["bilinear", "bicubic"]

# Pillow reads more, but some of its readers start other programs (EPS) or serve no photos.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "MPO", "JPEG2000", "AVIF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif")
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_WHITE = (255, 255, 255, 255)


def sample_photo() -> Path:
    """The photo that comes with perimetry: Chelsea the cat (CC0; see assets/NOTICE.md).

    >>> sample_photo().name
    'chelsea.jpg'
    """
    return Path(__file__).parent / "assets" / "chelsea.jpg"


def photos_in(folder: str | Path) -> list[Path]:
    """The photos in a folder (not below), in the order of their names; raises `FileError` where there is none."""
    found = sorted(each for each in Path(folder).iterdir() if each.suffix.lower() in SUFFIXES and each.is_file())
    if not found:
        raise FileError(f"there is no photo in {folder} (looked for {', '.join(SUFFIXES)})")
    return found


def load_photo(
    source: str | Path | Image.Image,
    size: tuple[int, int],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    channels: int = 3,
    resize: int | None = None,
    interpolation: Interpolation = "bilinear",
) -> tuple[torch.Tensor, Photo]:
    """Read, resize, crop in the centre and normalise a photo: (1, C, H, W) float32, and its pixels for people.

    source: a file, or a Pillow image; turned upright by its EXIF orientation, transparent parts on white.
    size: (H, W) of the crop. resize: the short side before cropping; None makes it just cover `size`.
    mean, std: per channel, on pixels scaled to 0..1. channels: 3, or 1 for gray.
    Raises `FileError` for a file that is not a readable photo, or holds more pixels than Pillow's limit.

    >>> image, photo = load_photo(sample_photo(), (224, 224), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    >>> tuple(image.shape), photo.name
    ((1, 3, 224, 224), 'chelsea.jpg')
    """
    if channels not in (1, 3):
        raise ShapeError(f"the model takes {channels} channels, a photo has 1 or 3; give a tensor (N, C, H, W) instead")
    if len(mean) != channels or len(std) != channels:
        raise InputError(f"expected {channels} means and standard deviations, got {len(mean)} and {len(std)}")
    image, name = _open(source)
    image = _fit(image, size, resize, _RESAMPLING[interpolation])
    pixels = numpy.asarray(image.convert("L") if channels == 1 else image, dtype=numpy.float32)
    array = torch.from_numpy(pixels / 255.0).reshape(*size, channels).permute(2, 0, 1)
    normalised = (array - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    return normalised[None].contiguous(), Photo(name=name, height=size[0], width=size[1], pixels=image.tobytes())


def read_pixels(path: str | Path) -> torch.Tensor:
    """The photo at its own size, upright and in RGB: uint8 (3, H, W). Raises `FileError` as `load_photo` does.

    >>> read_pixels(sample_photo()).shape
    torch.Size([3, 300, 451])
    """
    image, _ = _open(path)
    return torch.from_numpy(numpy.array(image)).permute(2, 0, 1).contiguous()


def _open(source: str | Path | Image.Image) -> tuple[Image.Image, str]:
    """The photo upright in RGB, and its name."""
    if isinstance(source, Image.Image):
        if min(source.size) < 1:
            raise FileError(f"the photo has no pixels ({source.width}x{source.height})")
        return _rgb(source), Path(getattr(source, "filename", "") or "photo").name
    path = Path(source)
    try:
        there, is_file = path.exists(), path.is_file()
    except OSError as error:  # a name that no file can have, as one of thousands of letters
        raise FileError(f"{path} cannot be read: {error.strerror}") from error
    if not there:
        raise FileError(f"no such photo: {path}")
    if not is_file:
        raise FileError(f"{path} is not a file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=_readers()) as image:
                return _rgb(image), path.name
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise FileError(
                f"{path} holds more than {Image.MAX_IMAGE_PIXELS} pixels (Pillow's limit); make it smaller first"
            ) from None
        except UnidentifiedImageError:
            raise FileError(f"{path} is not a photo that can be read ({', '.join(_FORMATS)})") from None
        except Exception as error:  # decoders fail on damaged files with errors of every kind
            raise FileError(f"{path} cannot be read as a photo (damaged or incomplete): {error}") from error


def _readers() -> list[str]:
    """Those of the formats that this Pillow was built with."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _rgb(image: Image.Image) -> Image.Image:
    """Eight bits of red, green and blue, upright, on white."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise FileError("the photo holds floating-point pixels; save it with 8 or 16 bits per channel")
    if image.mode.startswith("I"):  # 16 bits of gray, or 32 that hold 16
        values = numpy.asarray(image).astype(numpy.float64)
        image = Image.fromarray(numpy.clip(values / 257.0, 0, 255).round().astype(numpy.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    return image.convert("RGB")


def _fit(image: Image.Image, size: tuple[int, int], resize: int | None, resample: Image.Resampling) -> Image.Image:
    """Resize to the short side, or to cover `size`, then crop the centre, with torchvision's rounding."""
    height, width = size
    image = _without_far_ends(image, height, width)
    if resize is not None and resize >= max(size):
        scale = resize / min(image.size)
    else:
        scale = max(width / image.width, height / image.height)
    # torchvision cuts fractions off; the small addition keeps whole numbers whole.
    new_width = max(width, int(image.width * scale + 1e-6))
    new_height = max(height, int(image.height * scale + 1e-6))
    image = image.resize((new_width, new_height), resample)
    left = round((new_width - width) / 2)
    top = round((new_height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _without_far_ends(image: Image.Image, height: int, width: int) -> Image.Image:
    """Crop a very long strip around its centre first: enlarging all of it could take gigabytes."""
    longest_width = max(1, round(4 * image.height * width / height))
    longest_height = max(1, round(4 * image.width * height / width))
    if image.width <= longest_width and image.height <= longest_height:
        return image
    new_width, new_height = min(image.width, longest_width), min(image.height, longest_height)
    left, top = (image.width - new_width) // 2, (image.height - new_height) // 2
    return image.crop((left, top, left + new_width, top + new_height))
