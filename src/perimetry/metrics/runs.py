"""Connected components of a binary image by runs: stretches of foreground within a row, joined from row to row.

Runs are listed row by row: run i covers the columns [bounds[2 i], bounds[2 i + 1]), row y has the runs
[first[y], first[y + 1]). The image is the padded state of `relaxation.py`.
"""

from __future__ import annotations

import numpy as np

from perimetry.metrics.bits import gathered, lowest_bit, without_lowest
from perimetry.metrics.compiling import inlined, loop
from perimetry.metrics.relaxation import MARGIN


@loop
def find_runs(words, stride, height, width, bounds):
    """List the runs of a state whose bytes are 0 or 1, given as 64-bit words.

    bounds: room for two numbers per run; a row has at most (width + 1) // 2 runs. Returns the first run of each row,
    for each row and block of 64 columns the first run that ends after the block's start, and the rows as words of 64
    columns, with a word of zeros on either side.
    """
    first = np.zeros(height + 1, np.int32)
    blocks = width // 64 + 1  # the byte after the last pixel is zero, and ends a run
    hints = np.empty((height, blocks), np.int32)
    bits = np.zeros((height, blocks + 2), np.uint64)
    count = 0
    per_row = stride // 8
    for row in range(height):
        start = (row + 1) * per_row + MARGIN // 8
        last = np.uint64(0)
        for block in range(blocks):
            hints[row, block] = count // 2
            value = np.uint64(0)
            for word in range(min(8, width // 8 + 1 - 8 * block)):
                value |= gathered(words[start + 8 * block + word]) << np.uint64(8 * word)
            bits[row, block + 1] = value
            changes = value ^ (value << np.uint64(1)) ^ last
            last = value >> np.uint64(63)
            while changes:
                bounds[count] = 64 * block + lowest_bit(changes)
                count += 1
                changes = without_lowest(changes)
        first[row + 1] = count // 2
    return first, hints, bits


@inlined
def root(parents, run):
    """The run that stands for a component; halves the way to it."""
    while parents[run] != run:
        parents[run] = parents[parents[run]]
        run = parents[run]
    return run


@inlined
def join(parents, one, other):
    """Make two runs one component."""
    one, other = root(parents, one), root(parents, other)
    if one < other:
        parents[other] = one
    else:
        parents[one] = other


@loop
def join_runs(first, bounds):
    """The components of all runs, joined where runs of neighbouring rows share a column (4-connected)."""
    parents = np.arange(first[-1]).astype(np.int32)
    for row in range(1, first.size - 1):
        above, here = first[row - 1], first[row]
        while above < first[row] and here < first[row + 1]:
            if bounds[2 * above + 1] <= bounds[2 * here]:
                above += 1
            elif bounds[2 * here + 1] <= bounds[2 * above]:
                here += 1
            else:
                join(parents, above, here)
                if bounds[2 * above + 1] < bounds[2 * here + 1]:
                    above += 1
                else:
                    here += 1
    return parents


@inlined
def run_at(first, hints, bounds, row, column):
    """The first run of a row that ends after the column; one past the row's last run if there is none."""
    run = hints[row, column // 64]
    while run < first[row + 1] and bounds[2 * run + 1] <= column:
        run += 1
    return run
