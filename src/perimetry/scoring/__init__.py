"""Scoring sets of files: reading, matching by name, a score for each image and for all of them together."""
