"""Maps: what a unit sees. In theory (`receptive`, `support`), from the recorded operators alone."""

from perimetry.maps.receptive import LayerFields, fields, layer_fields, walk
from perimetry.maps.support import support

__all__ = ["LayerFields", "fields", "layer_fields", "support", "walk"]
