"""Capture: run a model once and keep what happened as a `Network`. Nothing else knows how capture works."""

from perimetry.tracing.capture import trace
from perimetry.tracing.endpoints import endpoints

__all__ = ["endpoints", "trace"]
