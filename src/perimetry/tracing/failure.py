"""When a model does not run: what went wrong, and what to do about it, from what torch said."""

from __future__ import annotations

import torch


def explain(failure: Exception | None, image: torch.Tensor, *, on_meta: bool = False) -> str:
    """What went wrong, in one sentence, from what torch said."""
    told = _told(failure)
    shape = tuple(image.shape)
    advice = "check the input's channels and size against what the model was built for"
    if "embedding" in told or "indices" in told:
        advice = "the model looks its input up in a table, so it takes tokens, not an image"
    elif "Calculated output size" in told or "Kernel size can't be greater" in told or "too small" in told:
        advice = "the image is too small for this network; give a larger size"
    elif "Guard failed" in told or "rong image" in told or "doesn't match model" in told:
        advice = "the model takes one size only; give that one"
    elif "channels" in told:
        advice = "give an image with the number of channels that the first layer expects"
    elif "should be the same" in told or "same dtype" in told:
        advice = f"the image is {image.dtype}; give it the type of the model's weights"
    elif on_meta:
        advice = "the model is on the meta device; if it looks at values, load it on the CPU"
    return f"the model does not run on an input of shape {shape}: {told[:500]}; {advice}"


def _told(failure: Exception | None) -> str:
    """The essence of torch's message: without what TorchScript and torch.fx tell of their own code."""
    if failure is None:
        return "it looks at values that a run on shapes alone does not have"
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    if lines and "TorchScript interpreter" in lines[0]:
        # Some errors lose their text on the way through TorchScript's interpreter.
        lines = ["an operator inside the TorchScript program failed"] if lines[-1].endswith("Error:") else lines[-1:]
    message = " ".join(lines).partition(" While executing %")[0]
    return message or type(failure).__name__
