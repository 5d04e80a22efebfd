"""Engines: one file for each thing that can compute a step."""
