"""The models of timm, by architecture ("convnext_tiny") or architecture and weights ("convnext_tiny.fb_in1k")."""

from __future__ import annotations

import socket
import urllib.request
import warnings
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import torch

from perimetry.errors import WeightsError
from perimetry.models.from_torchvision import no_download
from perimetry.models.loaded import IMAGENET_MEAN, IMAGENET_STD, LoadedModel

PREFIX = "timm:"


@cache
def names() -> tuple[str, ...]:
    """Every architecture that timm can build, without the prefix."""
    import timm

    return tuple(timm.list_models())


def knows(name: str) -> bool:
    """True for an architecture, and for an architecture with a known tag of weights behind a dot."""
    import timm

    architecture, dot, _ = name.partition(".")
    return bool(timm.is_model(architecture)) and (not dot or name in timm.list_pretrained(architecture + "*"))


def build(name: str, *, pretrained: bool) -> LoadedModel:
    """Build a model that `knows`; only with `pretrained` may weights be downloaded.

    Raises `WeightsError` where they are wanted, and do not exist or cannot be fetched.
    """
    import timm

    if pretrained:
        _require_weights(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old architectures announce their new names
        try:
            module = timm.create_model(name, pretrained=pretrained)
        except (OSError, RuntimeError) as error:
            if not pretrained:
                raise
            raise no_download(PREFIX + name, error) from error
    return describe(PREFIX + name, module, trained=pretrained)


def describe(name: str, module: torch.nn.Module, *, trained: bool) -> LoadedModel:
    """How photos are prepared for a timm model, from the configuration that it carries."""
    config: dict[str, Any] = getattr(module, "pretrained_cfg", None) or {}
    channels, height, width = config.get("input_size") or (3, 224, 224)
    crop = config.get("crop_pct") or 1.0
    imagenet = config.get("num_classes") == 1000 and "in1k" in str(config.get("tag"))
    return LoadedModel(
        name=name,
        resolved=name,
        module=module.eval(),
        input_size=(height, width),
        channels=channels,
        mean=tuple(config.get("mean") or IMAGENET_MEAN),
        std=tuple(config.get("std") or IMAGENET_STD),
        resize=int(min(height, width) / crop),
        interpolation="bicubic" if config.get("interpolation") == "bicubic" else "bilinear",
        class_names=imagenet_classes() if trained and imagenet else None,
        trained=trained,
    )


def imagenet_classes() -> tuple[str, ...]:
    """The thousand class names of ImageNet, in the usual order (they ship with torchvision)."""
    from torchvision.models import AlexNet_Weights

    return tuple(AlexNet_Weights.DEFAULT.meta["categories"])


def _require_weights(name: str) -> None:
    """Fail in seconds, not minutes, where there are no weights or the hub cannot be reached.

    The hub's own client tries each file six times with growing pauses before it gives up.
    """
    import huggingface_hub
    import timm

    config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    if config is None or not config.has_weights:
        raise WeightsError(f"timm has no pretrained weights for {name!r}; take random weights (--weights none)")
    if not config.hf_hub_id or urllib.request.getproxies():
        return
    for file in ("model.safetensors", "pytorch_model.bin"):
        if isinstance(huggingface_hub.try_to_load_from_cache(config.hf_hub_id, file), str):
            return
    host = urlsplit(huggingface_hub.constants.ENDPOINT)
    try:
        socket.create_connection((host.hostname or "", host.port or 443), timeout=5).close()
    except OSError as error:
        raise no_download(PREFIX + name, error) from error
