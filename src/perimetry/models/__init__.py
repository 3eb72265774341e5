"""Naming models: `torchvision:resnet50`, `timm:convnext_tiny`, `package.module:function`, a file, or a run.

names.py decides who answers a name; one from_*.py per source builds it; weights.py fits checkpoints to it.
"""

from perimetry.models.default import default_model
from perimetry.models.loaded import LoadedModel
from perimetry.models.names import list_models, load_model

__all__ = ["LoadedModel", "default_model", "list_models", "load_model"]
