"""The compiled warp: find the mismatches, order them, and flip simple points until none is left.

`warping_by_definition.py` says the same in a form that can be read; this file says how it is done in time linear in the
pixels and the mismatches. A pixel's test depends on its eight neighbours only, so that after the first walk it is
enough to test again those whose neighbour was flipped: in the same walk if they stand later in the order, else in the
next.

The state of a pixel is a byte of a flat, padded image: rows are `stride` bytes long, start at `MARGIN`, and one row of
zeros stands before the first and after the last. Bit 0 is the value, bit 1 says that the pixel was tried and kept.
"""

from __future__ import annotations

import numpy as np

from perimetry.metrics.bits import gathered, lowest_bit, without_lowest
from perimetry.metrics.compiling import inlined, loop

MARGIN = 8  # bytes before a row's first pixel: rows start on a whole 64-bit word
KEPT = np.uint8(2)
DIGIT = 11  # bits per pass of the radix sort
BUCKETS = 1 << DIGIT
LOWEST, HIGHEST = -1, 2  # what a probability may overshoot to


def row_stride(width: int) -> int:
    """Bytes between the starts of two rows: whole words, and at least one zero after the last pixel."""
    return MARGIN + (width // 8 + 1) * 8


@loop
def find_mismatches(label, proposal, limit, mask, state, stride, places, columns, values):
    """Fill the state with the label, and list where it differs from `proposal > limit` and the mask allows, row by row.

    label, mask: (H, W) bytes, the mask (0, 0) if there is none; places, columns, values (the proposal's): room for as
    many as there are pixels. Returns how many it listed, how many differ with or without the mask, and whether the
    proposal's values can be probabilities.
    """
    height, width = label.shape
    differs = np.zeros((width + 7) // 8 * 8, np.uint8)
    words = differs.view(np.uint64)
    count = hidden = plausible = 0
    for row in range(height):
        start = (row + 1) * stride + MARGIN
        # Views of one row, indexed from zero, are what the compiler turns into vector instructions.
        sources, targets, states = label[row], proposal[row], state[start : start + width]
        for column in range(width):
            source = np.uint8(sources[column] != 0)
            states[column] = source
            differs[column] = source ^ np.uint8(targets[column] > limit)
        for column in range(width):
            plausible += (targets[column] >= LOWEST) & (targets[column] <= HIGHEST)
        if mask.size:
            allowed = mask[row]
            for column in range(width):
                hidden += differs[column] & np.uint8(allowed[column] == 0)
                differs[column] &= np.uint8(allowed[column] != 0)
        for word in range(words.size):
            found = gathered(words[word])
            while found:
                column = 8 * word + lowest_bit(found)
                places[count] = start + column
                columns[count] = column
                values[count] = targets[column]
                count += 1
                found = without_lowest(found)
    return count, count + hidden, plausible == label.size


@loop
def by_column(places, columns, values, width):
    """Places and values that are listed row by row, listed column by column (a stable counting sort)."""
    first = np.zeros(width + 1, np.int64)
    for column in columns:
        first[column + 1] += 1
    for column in range(width):
        first[column + 1] += first[column]
    ordered, with_values = np.empty_like(places), np.empty_like(values)
    for index in range(places.size):
        column = columns[index]
        ordered[first[column]] = places[index]
        with_values[first[column]] = values[index]
        first[column] += 1
    return ordered, with_values


@loop
def by_key(places, keys):
    """Places ordered by their 32-bit keys, ascending and stable: a radix sort that leaves out digits all share."""
    count = places.size
    unlike = np.uint32(0)
    for index in range(count):
        unlike |= keys[index] ^ keys[0]
    for digit in range(3):
        shift = np.uint32(DIGIT * digit)
        if not (unlike >> shift) & np.uint32(BUCKETS - 1):
            continue
        first = np.zeros(BUCKETS + 1, np.int64)
        for index in range(count):
            first[((keys[index] >> shift) & np.uint32(BUCKETS - 1)) + 1] += 1
        for bucket in range(BUCKETS):
            first[bucket + 1] += first[bucket]
        sorted_places = np.empty(count, np.int32)
        sorted_keys = np.empty(count, np.uint32)
        for index in range(count):
            bucket = (keys[index] >> shift) & np.uint32(BUCKETS - 1)
            sorted_places[first[bucket]] = places[index]
            sorted_keys[first[bucket]] = keys[index]
            first[bucket] += 1
        places, keys = sorted_places, sorted_keys
    return places


@loop
def number_places(places):
    """A table that tells the index of a place: open addressing, at most half full; (place + 1, index) per slot."""
    size = 16
    while size < 2 * places.size:
        size *= 2
    table = np.zeros((size, 2), np.int32)
    for index in range(places.size):
        slot = _slot(table, places[index])
        table[slot, 0] = places[index] + 1
        table[slot, 1] = index
    return table


@inlined
def _slot(table, place):
    """The slot of a place, or the free one where it would stand."""
    last = table.shape[0] - 1
    slot = (np.int64(place) * 0x9E3779B1 >> 12) & last
    while table[slot, 0] != 0 and table[slot, 0] != place + 1:
        slot = (slot + 1) & last
    return slot


@inlined
def number_of(table, place):
    """The index of a place that the table holds."""
    return table[_slot(table, place), 1]


@inlined
def _code(state, place, stride):
    """The neighbourhood of a place as the number that the table of simple points knows."""
    above, below = place - stride, place + stride
    return (
        (state[above - 1] & 1)
        | (state[above] & 1) << 1
        | (state[above + 1] & 1) << 2
        | (state[place - 1] & 1) << 3
        | (state[place + 1] & 1) << 4
        | (state[below - 1] & 1) << 5
        | (state[below] & 1) << 6
        | (state[below + 1] & 1) << 7
    )


@loop
def relax(state, stride, order, simple):
    """Flip the simple points of a list, walk after walk; returns the places that could not be flipped, in order.

    order: the mismatches as they are to be visited.
    """
    steps = (-stride - 1, -stride, -stride + 1, -1, 1, stride - 1, stride, stride + 1)
    kept = np.empty(order.size, np.int32)
    again = np.empty(order.size, np.int32)
    kept_count = again_count = 0
    for place in order:
        if simple[_code(state, place, stride)]:
            state[place] ^= 1
            for step in steps:
                if state[place + step] & KEPT:
                    again[again_count] = place  # its kept neighbours are looked up below
                    again_count += 1
                    break
        else:
            state[place] |= KEPT
            kept[kept_count] = place
            kept_count += 1

    # From here on a pixel is known by its rank among the kept. A mark ahead of the walk is met in this walk, one
    # behind it in the next: exactly the passes of the definition.
    marks = np.zeros((kept_count + 7) // 8 * 8, np.uint8)
    words = marks.view(np.uint64)
    table = number_places(kept[:kept_count])
    for each in range(again_count):
        for step in steps:
            if state[again[each] + step] & KEPT:
                marks[number_of(table, again[each] + step)] = 1
    first = 0
    while first < kept_count:
        following = kept_count
        for word in range(first // 8, words.size):
            if words[word] == 0:
                continue
            for rank in range(8 * word, 8 * word + 8):
                if not marks[rank]:
                    continue
                marks[rank] = 0
                place = kept[rank]
                if not simple[_code(state, place, stride)]:
                    continue
                state[place] = (state[place] & 1) ^ 1
                for step in steps:
                    if state[place + step] & KEPT:
                        other = number_of(table, place + step)
                        marks[other] = 1
                        if other < rank:
                            following = min(following, other)
        first = following

    left = 0
    for rank in range(kept_count):
        if state[kept[rank]] & KEPT:
            state[kept[rank]] &= 1
            kept[left] = kept[rank]
            left += 1
    return kept[:left].copy()
