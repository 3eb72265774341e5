"""What segmenters share: a trunk of named layers or a backbone, scores at the image's size, weights handed on."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping

from torch import Tensor, nn
from torch.nn import functional

from perimetry.errors import InputError, UnknownNameError
from perimetry.networks.backbones import Backbone, backbone
from perimetry.networks.classifier import check_images


class Segmenter(nn.Module):
    """Images (N, 3, H, W) to {"out": scores (N, classes, H, W)}; this part of it gives the maps that are scored.

    trunk: layers that run one after the other and keep their names in the network, or a backbone. smallest: the side in
    pixels of the smallest image that the trunk can take.
    """

    def __init__(self, trunk: Mapping[str, nn.Module] | Backbone, *, smallest: int = 1) -> None:
        super().__init__()
        self.smallest = smallest
        self._chain: tuple[str, ...] = ()
        if isinstance(trunk, Backbone):
            self.backbone = trunk
        else:
            self._chain = tuple(trunk)
            self.add_layers(trunk)

    def maps(self, images: Tensor, wanted: Iterable[str]) -> dict[str, Tensor]:
        """The outputs of the layers wanted, by name."""
        check_images(images, smallest=self.smallest)
        if not self._chain:
            found: dict[str, Tensor] = self.backbone(images)
            return {name: found[name] for name in wanted}
        features, kept, wanted = images, {}, frozenset(wanted)
        for name in self._chain:
            features = self.get_submodule(name)(features)
            if name in wanted:
                kept[name] = features
        return kept

    def add_layers(self, layers: Mapping[str, nn.Module]) -> None:
        """Layers under their names, beside those of the trunk."""
        for name, layer in layers.items():
            self.add_module(name, layer)

    def through(self, names: Iterable[str], features: Tensor) -> Tensor:
        """Run the layers of these names one after the other."""
        for name in names:
            features = self.get_submodule(name)(features)
        return features


def segmenter_backbone(source: str | nn.Module, *, output_stride: int | None) -> Backbone:
    """The backbone of that name, of a module, or one that is made already and has that output stride."""
    if not isinstance(source, Backbone):
        return backbone(source, output_stride=output_stride)
    coarsest = max(source.strides.values())
    if output_stride not in (None, coarsest):
        raise InputError(f"the backbone given has an output stride of {coarsest}, not {output_stride}")
    return source


def resize(scores: Tensor, *, height: int, width: int) -> Tensor:
    """Bilinear interpolation to a size, where cells tile the image (half a cell from border to first centre)."""
    if tuple(scores.shape[2:]) == (height, width):
        return scores
    return functional.interpolate(scores, size=(height, width), mode="bilinear", align_corners=False)


def zoom(scores: Tensor, *, stride: int, start: int, height: int, width: int) -> Tensor:
    """Bilinear interpolation where cell k lies on pixel start + k * stride, as DeepLab's layers are aligned.

    scores: (N, C, h, w); returns (N, C, height, width). Pixels beyond the first and last cell repeat them.

    >>> import torch
    >>> zoom(torch.tensor([[[[0.0, 2.0]]]]), stride=2, start=1, height=1, width=5).flatten()
    tensor([0., 0., 1., 2., 2.])
    """
    rows, columns = ((cells - 1) * stride + 1 for cells in scores.shape[2:])
    if stride > 1:
        scores = functional.interpolate(scores, size=(rows, columns), mode="bilinear", align_corners=True)
    # Where this padding is below 0 it crops.
    return functional.pad(scores, (start, width - start - columns, start, height - start - rows), mode="replicate")


def crop(scores: Tensor, offset: int, *, height: int, width: int) -> Tensor:
    """The part (N, C, height, width) that begins at the same offset in rows and columns."""
    # A slice from 0 is the whole map for some sizes and not for others, and torch.export holds on to the one it saw.
    below, right = height + offset - scores.shape[2], width + offset - scores.shape[3]
    return functional.pad(scores, (-offset, right, -offset, below))


def copy_weights(network: nn.Module, tensors: Mapping[str, Tensor], *, only: str = "*") -> tuple[str, ...]:
    """Copy the tensors that the network has too, by name, and return their names; the others of both stay as they are.

    So FCN-32s hands its weights to 16s, and 16s to 8s. tensors: a state dict; only: a pattern of the names to copy.
    Raises `InputError` where a shape differs, and `UnknownNameError` where no name agrees; nothing is changed then.

    >>> source, target = nn.Linear(2, 1), nn.Sequential(nn.Linear(2, 1), nn.ReLU())
    >>> copy_weights(target, {f"0.{name}": each for name, each in source.state_dict().items()}, only="*weight")
    ('0.weight',)
    """
    own = network.state_dict()
    names = tuple(name for name in tensors if name in own and fnmatch.fnmatchcase(name, only))
    if not names:
        raise UnknownNameError(
            "weights", next(iter(tensors), only), known=own, advice=f"no name that matches {only!r} is the network's"
        )
    for name in names:
        if tensors[name].shape != own[name].shape:
            raise InputError(
                f"{name} is {tuple(tensors[name].shape)}, in the network {tuple(own[name].shape)}; build it with the "
                "same number of classes, or leave the layer out with `only`"
            )
    network.load_state_dict({name: tensors[name] for name in names}, strict=False)
    return names
