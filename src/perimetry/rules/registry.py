"""Where rules and costs are kept: one function per operator, looked up by the operator's name.

An operator is named without its overload and without the underscore of an in-place call: "aten.add" covers
`aten::add.Tensor` and `aten::add_.Tensor`; users' own operators are "mylib.myop" or "mylib::myop".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from perimetry.records import Value
from perimetry.rules.relations import Relation

Reads = Sequence[tuple[Value, Relation]]
RuleFunction = Callable[["Call"], Reads]
CostFunction = Callable[["Call"], int]
Function = TypeVar("Function", bound=Callable[["Call"], Any])

_RULES: dict[str, RuleFunction] = {}
_COSTS: dict[str, CostFunction] = {}


@dataclass(frozen=True, slots=True)
class Call:
    """One operator call as a rule sees it: arguments by their schema names, and the shape of one output.

    arguments: every argument, defaults filled in; tensors are `Value`s (shape, dtype), never data, except `.tensor`
    of a constant. output: which of the operator's outputs is asked about; shape: that output's.
    """

    op: str
    arguments: Mapping[str, Any]
    shape: tuple[int, ...]
    output: int = 0

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The argument of that name, or `default` where this overload has none."""
        return self.arguments.get(name, default)

    @property
    def tensors(self) -> list[Value]:
        """Every tensor among the arguments, in order, those in lists too."""
        found: list[Value] = []
        for argument in self.arguments.values():
            if isinstance(argument, Value):
                found.append(argument)
            elif isinstance(argument, list | tuple):
                found.extend(item for item in argument if isinstance(item, Value))
        return found

    @property
    def source(self) -> Value:
        """The first tensor argument."""
        return self.tensors[0]

    def pair(self, name: str, count: int) -> tuple[int, ...]:
        """An integer-list argument with one entry per spatial dimension; one entry is repeated, none is filled."""
        given = tuple(self.arguments[name])
        return given * count if len(given) == 1 else given


def canonical(op: str) -> str:
    """An operator's name as rules are filed: "mylib::myop.default" and "mylib.myop_" become "mylib.myop".

    >>> canonical("mylib::myop"), canonical("aten.add_")
    ('mylib.myop', 'aten.add')
    """
    namespace, _, rest = op.replace("::", ".").partition(".")
    name = rest.partition(".")[0]
    inplace = name.endswith("_") and not name.startswith("__")
    return f"{namespace}.{name[:-1] if inplace else name}"


def rule(*ops: str) -> Callable[[RuleFunction], RuleFunction]:
    """File a function as the rule of those operators: it tells which input positions an output position reads.

    The function takes a `Call` and returns (tensor, relation) pairs; a tensor that is left out is not read. It must be
    pure and must never be too small: where it cannot be exact, answer with `bound`, which says so. A second rule for
    the same operator raises `ValueError`.

    >>> import perimetry
    >>> from perimetry.rules import Axes, elementwise
    >>> @perimetry.rule("mylib::scale")
    ... def scale(call):
    ...     return [(call.source, elementwise(call.source.shape, call.shape))]
    """
    return _filing(_RULES, "rule", ops)


def cost(*ops: str) -> Callable[[CostFunction], CostFunction]:
    """File a function as the multiply-adds of those operators: it takes a `Call` and returns an integer.

    Multiply-adds are counted for products only (convolution, matrix products, attention, recurrence), as PyTorch's
    FlopCounterMode does; operators without a cost count nothing.
    """
    return _filing(_COSTS, "cost", ops)


def _filing(known: dict[str, Function], what: str, ops: Sequence[str]) -> Callable[[Function], Function]:
    """What files a function under operators that have none yet."""

    def file(function: Function) -> Function:
        for op in ops:
            name = canonical(op)
            if name in known:
                raise ValueError(
                    f"operator {name} has a {what} already ({known[name].__name__}); remove one of the two"
                )
            known[name] = function
        return function

    return file


def find_rule(op: str) -> RuleFunction | None:
    """The rule of an operator, or None."""
    return _RULES.get(op)


def find_cost(op: str) -> CostFunction | None:
    """The cost of an operator, or None where it counts nothing."""
    return _COSTS.get(op)
