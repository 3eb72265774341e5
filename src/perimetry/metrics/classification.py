"""The compiled classification of remaining mismatches, and how many connected groups each case forms.

`warping_by_definition.py` says the same in a form that can be read. Here the components are found once, by runs; the
window around a pixel is labelled again only where the pixel's own neighbourhood leaves the question open.

The cases are numbered as the challenge numbers its maps: object addition 0, hole deletion of a background pixel 1,
merge 2, hole addition of a background pixel 3, object deletion 4, hole addition of a foreground pixel 5, split 6, hole
deletion of a foreground pixel 7.
"""

from __future__ import annotations

import numpy as np

from perimetry.metrics.compiling import loop
from perimetry.metrics.relaxation import MARGIN, number_of, number_places
from perimetry.metrics.runs import join, root, run_at
from perimetry.metrics.windows import WIDEST, is_joined

CASES = 8
RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))  # clockwise
BY_CORNERS = (False, False, True, False, False, True, False, False)  # 8-connected groups: merge, hole addition of 1


@loop
def parts_in_window(first, hints, bounds, row, column, reach, width, starts, ends, parents):
    """How many components of the window touch the pixel's neighbourhood once the pixel is erased (4-connected).

    reach: rows and columns that the window goes beyond the pixel; starts, ends, parents: room for its runs.
    """
    height = first.size - 1
    left, right = max(0, column - reach), min(width, column + reach + 1)
    count = above = 0
    near = np.empty(8, np.int64)
    near_count = 0
    for y in range(max(0, row - reach), min(height, row + reach + 1)):
        here = count
        run = run_at(first, hints, bounds, y, left)
        while run < first[y + 1] and bounds[2 * run] < right:
            start, end = max(left, bounds[2 * run]), min(right, bounds[2 * run + 1])
            if y == row and start <= column < end:
                if start < column:
                    starts[count], ends[count], parents[count] = start, column, count
                    count += 1
                start = column + 1
            if start < end:
                starts[count], ends[count], parents[count] = start, end, count
                count += 1
            run += 1
        one, other = above, here
        while one < here and other < count:
            if ends[one] <= starts[other]:
                one += 1
            elif ends[other] <= starts[one]:
                other += 1
            else:
                join(parents, one, other)
                if ends[one] < ends[other]:
                    one += 1
                else:
                    other += 1
        if row - 1 <= y <= row + 1:
            for each in range(here, count):
                if starts[each] <= column + 1 and ends[each] >= column:
                    near[near_count] = each
                    near_count += 1
        above = here
        if y > row and _distinct_roots(parents, near, near_count) == 1:
            return 1  # already joined: the rows below cannot part them
    return _distinct_roots(parents, near, near_count)


@loop
def _distinct_roots(parents, runs, count):
    """How many components the first few of the runs belong to; each is replaced by its root."""
    distinct = 0
    for each in range(count):
        runs[each] = root(parents, runs[each])
        new = True
        for earlier in range(each):
            new = new and runs[earlier] != runs[each]
        distinct += new
    return distinct


@loop
def classify(state, stride, width, first, hints, bits, bounds, parents, places, radius, cases):
    """The case of each place (see above), on the runs and components of the whole warped image.

    radius: of the window; below 1 the window is the whole image, outside of which nothing counts as background.
    """
    height = first.size - 1
    if radius < 1:
        reach, room = max(height, width), first[-1] + 2
    else:
        reach, room = radius, min((2 * radius + 1) * (radius + 2), first[-1] + 2)
    starts, ends, window = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)
    masks, filled = np.empty(2 * WIDEST + 1, np.uint64), np.empty(2 * WIDEST + 1, np.uint64)
    labels = np.empty(4, np.int64)
    for index in range(places.size):
        place = places[index]
        row, column = place // stride - 1, place % stride - MARGIN
        value = state[place]
        foreground = stretches = 0
        background = False
        # Around the ring each neighbour touches the next by a side: one label serves a stretch of foreground.
        before = state[place - 1]
        for y, x in RING:
            here = state[place + y * stride + x]
            if here and not before:
                stretches += 1
                label = root(parents, run_at(first, hints, bounds, row + y, column + x))
                known = False
                for each in range(foreground):
                    known = known or labels[each] == label
                if not known:
                    labels[foreground] = label
                    foreground += 1
            elif not here and 0 <= row + y < height and 0 <= column + x < width:
                background = True
            before = here
        if foreground == 0 and before:  # foreground all around
            foreground = 1
        distinct = foreground + background
        if foreground == 0:
            cases[index] = 4 if value else 0
        elif distinct == 1:
            cases[index] = 5 if value else 1
        elif distinct == 2 and not value:
            cases[index] = 3
        elif distinct > 2:
            cases[index] = 6 if value else 2
        else:
            parts = stretches
            if stretches > 1 and 1 <= radius <= WIDEST:
                parts = 1 if is_joined(bits, row, column, radius, masks, filled) else 2
            elif stretches > 1:
                parts = parts_in_window(first, hints, bounds, row, column, reach, width, starts, ends, window)
            # Outside of the image is background for a window; an image without window has only its own pixels.
            edge = radius >= 1 and (row == 0 or column == 0 or row == height - 1 or column == width - 1)
            cases[index] = 6 if parts + (background or edge) > 2 else 7


@loop
def count_groups(state, stride, places, cases, by_corners):
    """How many connected groups the places of each case form; the state comes back as it was.

    by_corners: per case, whether corners connect.
    """
    steps = (-1, -stride, -stride - 1, -stride + 1)
    groups = np.zeros(by_corners.size, np.int64)
    parents = np.arange(places.size).astype(np.int32)
    for index in range(places.size):
        state[places[index]] |= (cases[index] + 1) << 1
    table = number_places(places)
    for index in range(places.size):
        groups[cases[index]] += 1
        for each in range(4 if by_corners[cases[index]] else 2):
            other = places[index] + steps[each]
            if state[other] >> 1 == cases[index] + 1:
                one, second = root(parents, index), root(parents, number_of(table, other))
                if one != second:
                    join(parents, one, second)
                    groups[cases[index]] -= 1
    for place in places:
        state[place] &= 1
    return groups
