"""The sentences that explain what a report shows: one each, the same in the terminal and on the page."""

from __future__ import annotations

from perimetry.records import ModelRecord

LOCAL_FIELD = (
    "The local field is the hull of the pixels that differ between positions; what is the same for every unit "
    "(a squeeze-and-excitation gate, image-level pooling) is set aside."
)
FULL_FIELD = "The full field is the hull of every pixel that can reach a unit."
HULL = "A field is a hull: where a network has dilation, there can be pixels inside that reach nothing."
UNPRODUCTIVE = (
    "sees no new context: on entry the local field already exceeds the image on every axis (Richter et al. 2021)"
)
UPPER_BOUND = "upper bound: a rule could not be exact, so the field may be smaller, never larger"
MISALIGNED = "joins branches whose fields are centred on different pixels"
NOT_UNIFORM = "neighbouring units differ in size or step; the largest size and the mean step are given"
UNKNOWN = "unknown: an operator without a rule lies between the image and this layer"


def unknown_messages(model: ModelRecord) -> list[str]:
    """Why fields of this model are unknown: operators without a rule, then any other reason, each once."""
    messages = [each.message for each in model.unknown]
    operators = {message.split(";")[0] for message in messages}
    for layer in model.layers:
        if layer.reason and layer.reason not in messages and layer.reason.split(";")[0] not in operators:
            messages.append(layer.reason)
    return list(dict.fromkeys(messages))
