"""Values of a recipe: from texts, TOML or Python to the type of their key."""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from typing import Any, Literal

Literals = tuple[str, ...]


def value_of(kind: Any, value: Any) -> Any:
    """The value as a key of that type holds it; raises `TypeError` or `ValueError` for one that is none.

    >>> value_of(tuple[int, ...], "480, 600"), value_of(bool, "true"), value_of(int, 3.0)
    ((480, 600), True, 3)
    >>> value_of(tuple[int, int], "180x240"), value_of(tuple[int, int], 224)
    ((180, 240), (224, 224))
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if value not in arguments:
            raise ValueError
        return value
    if origin is tuple:
        if isinstance(value, Mapping):  # a table of TOML; its keys alone would say something else
            raise TypeError
        if arguments[-1] is Ellipsis:
            parts = _parts(value) if isinstance(value, str) else list(value)
        else:
            parts = _as_many(value, len(arguments))
        return tuple(value_of(arguments[0], part) for part in parts)
    if kind is bool:
        if value not in (True, False, "true", "false"):
            raise ValueError
        return value in (True, "true")
    if kind is str:
        if not isinstance(value, str):
            raise TypeError
        return value
    return _number(kind, value)


def expected(kind: Any) -> str:
    """What a key of that type takes, in words.

    >>> expected(tuple[int, int])
    'two whole numbers, comma between, or one for both'
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(arguments)
    if origin is tuple:
        many = {int: "whole numbers", float: "numbers", str: "texts"}.get(arguments[0])
        many = many or "some of " + ", ".join(typing.get_args(arguments[0]))
        return f"{many}, comma between" if arguments[-1] is Ellipsis else f"two {many}, comma between, or one for both"
    return {bool: "true or false", str: "a text", int: "a whole number", float: "a number"}[kind]


def finite(text: str) -> bool:
    """True for the text of a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _as_many(value: Any, count: int) -> list[Any]:
    """Exactly so many values, from a list, a text such as "180,240" or "180x240", or one value for all."""
    if isinstance(value, int | float | str):
        parts = _parts(value.replace("x", ",")) if isinstance(value, str) else [value]
        parts = parts * count if len(parts) == 1 else parts
    else:
        parts = list(value)
    if len(parts) != count:
        raise ValueError
    return parts


def _parts(text: str) -> list[Any]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _number(kind: type, value: Any) -> Any:
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError
    if kind is not int:
        return number
    if number != int(number):
        raise ValueError
    return int(number) if isinstance(value, float) else int(value)
