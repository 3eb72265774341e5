"""The layers of VGG-16 that segmenters are built on, under their names, with the poolings that each of them has."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from perimetry.errors import InputError

_STAGES = ((1, 2, 64), (2, 2, 128), (3, 3, 256), (4, 3, 512), (5, 3, 512))


def max_pool(kernel: int, stride: int, padding: int = 0) -> nn.MaxPool2d:
    """A pooling that rounds up, as Caffe's do."""
    return nn.MaxPool2d(kernel, stride, padding, ceil_mode=True)


def vgg16_trunk(
    *, pools: Mapping[str, nn.Module] | None = None, first_padding: int = 1, last_dilation: int = 1
) -> dict[str, nn.Module]:
    """conv1_1, relu1_1 ... pool5 (Simonyan and Zisserman 2015, configuration D).

    pools: other poolings, by name; those of 2 x 2 cells at stride 2 otherwise. first_padding: of conv1_1.
    last_dilation: of conv5_1 to conv5_3.

    >>> sum(each.numel() for layer in vgg16_trunk().values() for each in layer.parameters())
    14714688
    """
    layers: dict[str, nn.Module] = {}
    channels = 3
    for stage, depth, width in _STAGES:
        dilation = last_dilation if stage == 5 else 1
        for number in range(1, depth + 1):
            padding = first_padding if (stage, number) == (1, 1) else dilation
            layers[f"conv{stage}_{number}"] = nn.Conv2d(channels, width, 3, padding=padding, dilation=dilation)
            layers[f"relu{stage}_{number}"] = nn.ReLU()
            channels = width
        layers[f"pool{stage}"] = (pools or {}).get(f"pool{stage}") or max_pool(2, 2)
    return layers


def classifier_head(
    channels: int, width: int, *, window: int, dilation: int = 1, padding: int = 0
) -> dict[str, nn.Module]:
    """fc6, relu6, drop6, fc7, relu7, drop7 as convolutions: the first reads a dilated window, the second one cell."""
    return {
        "fc6": nn.Conv2d(channels, width, window, padding=padding, dilation=dilation),
        "relu6": nn.ReLU(),
        "drop6": nn.Dropout(0.5),
        "fc7": nn.Conv2d(width, width, 1),
        "relu7": nn.ReLU(),
        "drop7": nn.Dropout(0.5),
    }


def start_for_relu(layers: Mapping[str, nn.Module]) -> None:
    """Gaussian weights by fan-in and zero biases (He et al. 2015): 16 layers learn without a classifier's weights."""
    for layer in layers.values():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # all have one


def score_layer(channels: int, classes: int, *, std: float) -> nn.Conv2d:
    """A 1 x 1 convolution with Gaussian weights, or zeros for a `std` of 0, and zero biases, as its fillers say."""
    if classes < 1:
        raise InputError(f"classes is at least 1, got {classes}")
    layer = nn.Conv2d(channels, classes, 1)
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # all have one
    return layer


def from_vgg16_classifier(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of torchvision's VGG-16 under the names of the layers here, fc6 and fc7 as windows of 7 and 1.

    tensors: its state dict. Hand the result to `copy_weights`, with `only="conv*"` where fc6 has another window.

    >>> from torchvision.models import vgg16
    >>> import torch
    >>> with torch.device("meta"):
    ...     tensors = from_vgg16_classifier(vgg16().state_dict())
    >>> tensors["fc6.weight"].shape
    torch.Size([4096, 512, 7, 7])
    """
    kinds = [name for name in tensors if name.endswith(".weight")]
    names = [f"conv{stage}_{number}" for stage, depth, _ in _STAGES for number in range(1, depth + 1)] + ["fc6", "fc7"]
    if len(kinds) != len(names) + 1 or any(tensors[kind].ndim != 4 for kind in kinds[:13]):
        raise InputError(f"expected the 16 weighted layers of torchvision's vgg16, got {len(kinds)}")
    renamed: dict[str, Tensor] = {}
    for name, kind in zip(names, kinds[:-1], strict=True):
        weight = tensors[kind]
        if name == "fc6":
            weight = weight.reshape(-1, 512, 7, 7)
        elif name == "fc7":
            weight = weight[..., None, None]
        renamed[f"{name}.weight"] = weight
        renamed[f"{name}.bias"] = tensors[kind.removesuffix("weight") + "bias"]
    return renamed
