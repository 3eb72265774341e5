"""Turning results into text, HTML and plain data: reads records, computes nothing about models."""
