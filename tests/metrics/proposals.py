"""Truths and proposals that tests and readers can look at: random ones, and distortions of real labels."""

import numpy as np
from PIL import Image
from scipy import ndimage


def read(drawing):
    """Rows of # and . as bools, parted by blanks."""
    return np.array([[{"#": 1, ".": 0}[letter] for letter in row] for row in drawing.split()], bool)


def labels(data, *numbers):
    """Slices of the EM stack's labels, as bools."""
    return [np.array(Image.open(data / "isbi2012_em" / "labels" / f"{number:02d}.png")) > 0 for number in numbers]


def intensities(data, number):
    """A slice of the EM stack, 8 bits."""
    return np.array(Image.open(data / "isbi2012_em" / "images" / f"{number:02d}.png"))


def blurred(label, sigma=1.5):
    return ndimage.gaussian_filter(label.astype(np.float32), sigma)


def shifted(label, rows=1, columns=2):
    return np.roll(label, (rows, columns), (0, 1))


def deformed(label, seed=0, pixels=1.5, smoothness=8):
    """Moved by a smooth random field of about so many pixels, and interpolated."""
    random = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(random.standard_normal(label.shape), smoothness) for _ in range(2)]
    places = [grid + pixels * field / field.std() for grid, field in zip(np.indices(label.shape), fields, strict=True)]
    return ndimage.map_coordinates(label.astype(np.float32), places, order=1, mode="nearest").clip(0, 1)


def broken(label, seed=0, gaps=30):
    """Discs of membrane and of interior, scattered: gaps in borders, and holes in cells."""
    random = np.random.default_rng(seed)
    drawn = label.copy()
    rows, columns = np.indices(label.shape)
    for index in range(gaps):
        row, column = random.integers(label.shape[0]), random.integers(label.shape[1])
        drawn[(rows - row) ** 2 + (columns - column) ** 2 <= random.integers(1, 30)] = index % 2 == 0
    return drawn


def noisy(label, seed=0, amount=0.25):
    """Probabilities with coarse steps, so that there are many ties."""
    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.standard_normal(label.shape), 1)
    return np.round(blurred(label) + amount * noise / noise.std(), 2).clip(0, 1).astype(np.float32)


def distortions(label):
    """Each kind of proposal by name."""
    return {
        "blurred": blurred(label),
        "shifted": shifted(label),
        "deformed": deformed(label),
        "broken": broken(label),
        "noisy": noisy(label),
        "levels": (255 * noisy(label, seed=1)).round().astype(np.uint8),
    }
