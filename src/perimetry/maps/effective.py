"""effective_field(): what a unit really sees, by the gradient with respect to the image."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from perimetry.errors import UnknownNameError
from perimetry.maps.conventions import CONVENTIONS, Convention
from perimetry.maps.gradient_sum import GradientSum
from perimetry.maps.measurement import UnitMap
from perimetry.maps.subject import image_stream, loaded

if TYPE_CHECKING:
    from perimetry.maps.subject import Images, Model


def effective_field(
    model: Model,
    images: Images,
    unit: str | None = None,
    *,
    convention: Convention = "luo2016",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> UnitMap:
    """The effective receptive field of one unit: how strongly each pixel moves it, averaged over images.

    model: a module in eval mode, a model's name or a `LoadedModel`. images: a batch (N, C, H, W), a photo, a folder,
    a list of these, or a number of images of Gaussian noise, drawn from `seed`: any number, for a few at a time
    are in memory.
    unit: `layer`, `layer:channel`, `layer@row,column` or `layer:channel@row,column`; the centre where no position is
    given; without a unit, the centre of the last layer that has positions.
    progress: called with the images done and the images in all.

    Conventions, y being the unit's outputs, one per channel (or the one channel that was asked for):

    - "luo2016" (Luo et al. 2016, "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks"):
      the gradient of the sum of y; its magnitude, summed over the image's channels, averaged over images.
    - "replknet2022" (Ding et al. 2022, "Scaling Up Your Kernels to 31x31"): the gradient of the sum of max(y, 0);
      rectified per image channel, then summed over channels, averaged over images, then log10(x + 1), divided by its
      maximum. The logarithm makes it depend on the gradient's scale.
    - "replknet2022-linear": the same without the logarithm.
    - "openerf" (the package of that name): the gradient of the mean of y; averaged over the image's channels and
      rectified then (the opposite order), averaged over images, divided by its sum.
    - "norm": the gradient of the L2 norm of y, the square root of the sum of squares; the rest as in "luo2016".
      Channels of opposite signs do not cancel; where y is zero, nothing moves it.

    The measurement counts pixels above 4.55 % of the maximum, under every convention. `notes` tells innocent reasons
    for a small field. Raises `UnknownNameError`, `InputError`, `ShapeError`, `TrainingModeError` or `FileError`.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3, padding=1), torch.nn.Conv2d(1, 1, 3, padding=1)).eval()
    >>> found = effective_field(model, torch.ones(1, 1, 9, 9), "1")
    >>> found.target.unit, found.map.shape, found.measured.extent
    ((4, 4), (9, 9), (5, 5))
    """
    found = _measured(model, images, None if unit is None else [unit], convention, seed, progress, every=False)
    return next(iter(found.values()))


def effective_fields(
    model: Model,
    images: Images,
    units: str | Sequence[str] | None = None,
    *,
    convention: Convention = "luo2016",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, UnitMap]:
    """The effective fields of several units, or of the centre unit of every layer, from one forward pass per image.

    units: names as `effective_field` takes them, or one glob pattern over layers such as "layer*.conv2"; None asks for
    every layer. Layers without a known field, or of whole numbers, are left out where they were not asked for by name.
    The other arguments, the conventions and the errors are those of `effective_field`. Maps come by name, in the order
    of the layers.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3), torch.nn.ReLU(), torch.nn.Conv2d(1, 1, 3)).eval()
    >>> list(effective_fields(model, 2, "[02]", seed=1))
    ['0', '2']
    """
    return _measured(model, images, units, convention, seed, progress, every=units is None)


def _measured(
    model: Model,
    images: Images,
    units: str | Sequence[str] | None,
    convention: str,
    seed: int,
    progress: Callable[[int, int], None] | None,
    *,
    every: bool,
) -> dict[str, UnitMap]:
    if convention not in CONVENTIONS:
        raise UnknownNameError("convention", str(convention), known=CONVENTIONS, advice=", ".join(CONVENTIONS))
    began = time.perf_counter()
    subject = loaded(model)
    count, stream = image_stream(subject, images, seed=seed)
    run: GradientSum | None = None
    waiting: list[torch.Tensor] = []
    for read, image in enumerate(stream, start=1):
        if run is None:
            run = GradientSum.begun(subject, image, units, CONVENTIONS[convention], every=every)
        waiting.append(image)
        if len(waiting) >= run.at_once() or read == count:
            run.add(torch.cat(waiting))
            if progress is not None:
                for done in range(read - len(waiting) + 1, read + 1):
                    progress(done, count)
            waiting.clear()
    assert run is not None, "there is at least one image"
    facts = {"definition": CONVENTIONS[convention].source, "seed": seed, "seconds": time.perf_counter() - began}
    return {name: run.result(name, convention, count, facts) for name in run.targets}
