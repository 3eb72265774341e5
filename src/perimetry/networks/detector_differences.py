"""What the cards of several detectors tell as different from the release, in the same words."""

from __future__ import annotations

from perimetry.networks.cards import Difference

MEANS = Difference(
    "Images are scaled to 0 ... 1 and normalised, RGB",
    "the release subtracts 102.9801, 115.9465, 122.7717 from BGR values of 0 ... 255",
)
ANY_BACKGROUND = Difference(
    "Where no region overlaps an object by 0.1 to 0.5, any that overlap less are background",
    "an image without objects would have no background by the published range alone",
)
SEVERAL_IMAGES = Difference(
    "Several images can be trained at once", "the release takes one, and adds the gradients of two iterations"
)
RANDOM_START = Difference("Layers start from random values, none frozen", "the release starts from ImageNet's weights")
FEW_DETECTIONS = Difference(
    "Detections below a score of 0.05 are left out, at most 100 of an image",
    "the release sets its thresholds over the whole test set",
)
