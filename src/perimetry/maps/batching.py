"""How many patches run together: as many as memory holds, by what a plan keeps at its fullest moment.

Nothing that is measured decides, so that the same run always makes the same batches and the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from perimetry.maps.plan import Plan
from perimetry.maps.program import needs
from perimetry.records import Value

_LARGEST = 512  # more patches make no operator faster
_LARGEST_FULL = 64  # full maps gain less from large batches
ENOUGH = 512 << 20  # bytes: what is larger is fetched from the system page by page again and again

Bytes = npt.NDArray[np.floating[Any]]


def batches(plan: Plan, positions: Sequence[tuple[int, int]], memory: int) -> list[range]:
    """Runs of positions, in order, each of which stays within that many bytes; a single one however much it takes.

    Where full maps are needed, which are recorded for one size of batch, all but the last are of one size.
    """
    if not positions:
        return []
    room = max(min(memory, ENOUGH) - max((rule.scratch for rule in plan.tiles.values()), default=0), 1)
    held = _held(plan, positions)
    if not plan.windows_only:
        most = float(held.max(initial=0)) + _held_in_full(plan)
        size = 1
        while size * 2 <= min(room / most, _LARGEST_FULL) and size < len(positions):
            size *= 2
        return [range(begin, min(begin + size, len(positions))) for begin in range(0, len(positions), size)]
    totals = np.concatenate((np.zeros((len(held), 1)), np.cumsum(held, axis=1)), axis=1)
    made, begin = [], 0
    while begin < len(positions):
        together = totals[:, begin + 1 : begin + 1 + _LARGEST] - totals[:, begin : begin + 1]
        fitting = int((together.max(axis=0, initial=0) <= room).sum())
        made.append(range(begin, begin + max(1, fitting)))
        begin = made[-1].stop
    return made


def kept_bytes(plan: Plan) -> int:
    """Bytes that stay whatever the batch: the values of the uncovered run, and filters laid out anew."""
    network = plan.program.network
    made = {index for node in plan.dependent() if not node.view for index in node.outputs if index is not None}
    return sum(network.values[index].bytes for index in made) + sum(rule.kept for rule in plan.tiles.values())


def _held(plan: Plan, positions: Sequence[tuple[int, int]]) -> Bytes:
    """What each patch's windows take while each operator runs: (operators, positions), in bytes."""
    network = plan.program.network
    rows, columns = (list(each) for each in zip(*positions, strict=True))
    last = {index: node.index for node in plan.program.nodes for index in needs(node)}

    def window(value: int) -> Bytes:
        high, wide = plan.reached[value].extents()
        taken: Bytes = (high[rows] * wide[columns]) * _bytes_per_position(plan, network.values[value])
        return taken

    live = {network.inputs[0]: window(network.inputs[0])} if network.inputs[0] in plan.reached else {}
    found: list[Bytes] = [np.zeros(len(positions))]
    for node in plan.program.nodes:
        rule = plan.tiles.get(node.index)
        if rule is None:
            continue
        made = window(rule.output)
        changes = sum(live[operand.value] for operand in rule.operands)
        # The output, the unchanged rows beneath it, and what comes before it is put in order.
        found.append(sum(live.values()) + changes + 3 * made)
        live[rule.output] = made
        for index in needs(node):
            if last[index] == node.index and index != plan.target:
                live.pop(index, None)
    return np.stack(found)


def _bytes_per_position(plan: Plan, value: Value) -> float:
    return value.bytes / math.prod(plan.frames[value.index].extents)


def _held_in_full(plan: Plan) -> float:
    """What one patch takes at the widest operator on full maps: its operands and outputs, and as much again."""
    network = plan.program.network
    widest = 0
    for node in plan.dependent():
        if node.index not in plan.tiles:
            values = {index for index in (*needs(node), *node.outputs) if index is not None}
            widest = max(widest, sum(network.values[index].bytes for index in values if network.depends[index]))
    return 2.0 * widest
