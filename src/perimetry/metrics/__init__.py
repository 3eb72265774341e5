"""Scores of predictions against truth: each a function over arrays, and an accumulator that can be merged."""

from __future__ import annotations

from perimetry.metrics.unavailable import Score, Unavailable

__all__ = ["Score", "Unavailable"]
