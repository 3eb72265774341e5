"""What region operators share: checked boxes, rounding as C does it, and means over many rectangles at once."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import _get_current_dispatch_mode

from perimetry.errors import InputError, ShapeError

ENOUGH_WORK = 1 << 16  # elements: about 100 boxes of 13 classes and 7 x 7 bins


def check_features(features: Tensor) -> None:
    """Raise unless the features are a floating-point batch of maps (N, C, H, W)."""
    if features.ndim != 4:
        raise ShapeError(
            f"expected feature maps (N, C, H, W), got {tuple(features.shape)}; add a batch axis with features[None]"
        )
    if not features.is_floating_point():
        raise InputError(f"expected floating-point features, got {features.dtype}; convert them with features.float()")


def check_boxes(boxes: Tensor, features: Tensor) -> Tensor:
    """The boxes (K, 5) of (image, x1, y1, x2, y2) in at least single precision; raises where they cannot be used.

    Values are looked at only when there are any: not while a program is compiled, exported or run on fake tensors.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 5:
        raise ShapeError(
            f"expected boxes (K, 5), rows of (image, x1, y1, x2, y2), got {tuple(boxes.shape)}; "
            "put the image's index in front with torch.cat([torch.zeros(len(boxes), 1), boxes], 1)"
        )
    if boxes.device != features.device:
        raise InputError(f"the boxes are on {boxes.device}, the features on {features.device}; move one to the other")
    if type(boxes) in (Tensor, torch.nn.Parameter) and not boxes.is_meta and not torch.compiler.is_compiling():
        if not bool(boxes.isfinite().all()):
            raise InputError("expected finite boxes, got NaN or infinity; drop those rows with boxes.isfinite().all(1)")
        image = boxes[:, 0]
        if not bool(((image >= 0) & (image < len(features)) & (image == image.long())).all()):
            raise InputError(
                f"expected image indices 0 ... {len(features) - 1} in the boxes' first column, "
                f"got {image.min().item():g} ... {image.max().item():g}; number the boxes' images within the batch"
            )
    return boxes.to(torch.promote_types(boxes.dtype, torch.float32)).detach()


def round_half_away(values: Tensor) -> Tensor:
    """Round as C's `round`: halves go away from zero, where `torch.round` takes them to the even neighbour.

    >>> round_half_away(torch.tensor([0.5, 1.5, 2.5, -0.5]))
    tensor([ 1.,  2.,  3., -1.])
    """
    whole = values.trunc()
    return whole + torch.where((values - whole).abs() >= 0.5, values.sign(), 0.0)


def runs_compiled(features: Tensor, *, work: int) -> bool:
    """Whether a compiled loop takes over: for real CPU tensors in single or double precision, and enough work.

    work: elements read or written; few would not repay what loading the loops takes. Whoever records a program
    (compile, export, a dispatch mode) needs torch's operators.
    """
    if torch.compiler.is_compiling() or torch._C._is_tracing() or _get_current_dispatch_mode() is not None:
        return False
    plain = type(features) in (Tensor, torch.nn.Parameter) and features.device.type == "cpu"
    return plain and features.dtype in (torch.float32, torch.float64) and work >= ENOUGH_WORK


def rectangle_means(tables: Tensor, table: Tensor, top: Tensor, bottom: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Means over rows [top, bottom) and columns [left, right) of chosen maps, by sums over all pixels above and left.

    tables: (T, C, H, W); table, top, bottom, left, right: integers of one shape (R,), inside the map; returns (R, C).
    An empty rectangle has the mean 0. Takes time in the pixels plus the rectangles, however large these are. Sums are
    kept in double precision where the device has it. A value that is not finite reaches the means right of it and
    below.
    """
    bottom, right = bottom.maximum(top), right.maximum(left)
    corners = ((bottom, right), (top, right), (bottom, left), (top, left))
    height, width = tables.shape[2:]
    at = torch.stack([(table * (height + 1) + y) * (width + 1) + x for y, x in corners])  # (4, R)
    areas = ((bottom - top) * (right - left)).clamp(min=1)
    return cast("Tensor", _RectangleMeans.apply(tables, at, areas))


def _wide(values: Tensor) -> torch.dtype:
    return torch.float32 if values.device.type == "mps" else torch.float64


class _RectangleMeans(torch.autograd.Function):
    """Four corners of a table of sums; its own gradient saves the copies that autograd makes of such large tables.

    The gradient is made of differentiable operators, so it has a gradient in turn.
    """

    @staticmethod
    def forward(tables: Tensor, at: Tensor, areas: Tensor) -> Tensor:
        # Channels last, so that one corner is one row; in place, as memory is what this costs.
        framed = functional.pad(tables.permute(0, 2, 3, 1), (0, 0, 1, 0, 1, 0))
        rows = framed.cumsum(1, dtype=_wide(tables)).cumsum_(2).flatten(0, 2)
        totals = rows.index_select(0, at[0])
        for sign, corner in zip((-1, -1, 1), at[1:].unbind(), strict=True):
            totals.add_(rows.index_select(0, corner), alpha=sign)
        return totals.div_(areas[:, None]).to(tables.dtype)

    @staticmethod
    def setup_context(
        context: Any,
        inputs: tuple[Tensor, Tensor, Tensor],
        output: Tensor,  # noqa: ARG004 - torch passes it
    ) -> None:
        tables, at, areas = inputs
        context.save_for_backward(at, areas)
        context.shape = tables.shape

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        at, areas = context.saved_tensors
        count, channels, height, width = context.shape
        each = gradient.to(_wide(gradient)) / areas[:, None]
        rows = each.new_zeros(count * (height + 1) * (width + 1), channels)
        # From the far end, so that a plain running sum gives each pixel all corners below and right of it.
        for sign, corner in zip((1, -1, -1, 1), at.unbind(), strict=True):
            rows = rows.index_add_(0, len(rows) - 1 - corner, each, alpha=sign)
        sums = rows.reshape(count, height + 1, width + 1, channels).cumsum_(1).cumsum_(2)
        tables = sums[:, :height, :width].to(gradient.dtype).flip(0, 1, 2).permute(0, 3, 1, 2)
        return tables, None, None
