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
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if value not in arguments:
            raise ValueError
        return value
    if origin is tuple:
        if isinstance(value, Mapping):  # a table of TOML; its keys alone would say something else
            raise TypeError
        parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else list(value)
        if arguments[-1] is not Ellipsis and len(parts) != len(arguments):
            raise ValueError
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
    'two whole numbers, comma between'
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(arguments)
    if origin is tuple:
        many = {int: "whole numbers", float: "numbers", str: "texts"}.get(arguments[0])
        many = many or "some of " + ", ".join(typing.get_args(arguments[0]))
        return f"{many if arguments[-1] is Ellipsis else 'two ' + many}, comma between"
    return {bool: "true or false", str: "a text", int: "a whole number", float: "a number"}[kind]


def finite(text: str) -> bool:
    """True for the text of a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _number(kind: type, value: Any) -> Any:
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError
    if kind is not int:
        return number
    if number != int(number):
        raise ValueError
    return int(number) if isinstance(value, float) else int(value)
