"""Synthetic labelled scenes, of any size, by seed, in which one can say where a label is told."""

from __future__ import annotations

from perimetry.data.scenes.composing import COUNTS, CUES
from perimetry.data.scenes.contact_sheet import contact_sheet
from perimetry.data.scenes.scene_set import SceneSet, scenes
from perimetry.data.scenes.shapes import SHAPES
from perimetry.data.scenes.writing import PALETTE, write_scenes

__all__ = ["COUNTS", "CUES", "PALETTE", "SHAPES", "SceneSet", "contact_sheet", "scenes", "write_scenes"]
