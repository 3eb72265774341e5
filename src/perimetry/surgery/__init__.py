"""The same network with one thing changed."""

from __future__ import annotations

from perimetry.surgery.changing import Changed, change
from perimetry.surgery.grammar import Request, parse

__all__ = ["Changed", "Request", "change", "parse"]
