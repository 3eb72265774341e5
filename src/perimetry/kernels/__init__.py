"""Compiled forms of operators, imported by `perimetry.ops` where counting says that they are worth it."""
