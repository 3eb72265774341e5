"""Rules: for each aten operator, which input positions an output position reads, and its multiply-adds.

One file per family of operators; one decorated pure function per operator, or per group that reads alike. Importing
this package files all of them.
"""

from perimetry.rules import (  # noqa: F401 - imported to file their rules
    convolution,
    indexing,
    joins,
    layout,
    moves,
    normalization,
    pooling,
    products,
    recurrence,
    reductions,
    regions,
    resampling,
)
from perimetry.rules.elementwise import elementwise_call, reads_nothing
from perimetry.rules.registry import Call, cost, find_cost, find_rule, rule
from perimetry.rules.relations import (
    At,
    Axes,
    Bound,
    Chain,
    Each,
    Gather,
    Relation,
    Reshape,
    Spread,
    Whole,
    Window,
    bound,
    elementwise,
    everything,
    shifted,
    window,
)

__all__ = [
    "At",
    "Axes",
    "Bound",
    "Call",
    "Chain",
    "Each",
    "Gather",
    "Relation",
    "Reshape",
    "Spread",
    "Whole",
    "Window",
    "bound",
    "cost",
    "elementwise",
    "elementwise_call",
    "everything",
    "find_cost",
    "find_rule",
    "reads_nothing",
    "rule",
    "shifted",
    "window",
]
