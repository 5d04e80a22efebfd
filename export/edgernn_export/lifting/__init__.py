"""Lifting: from modules, programs and graphs over whole sequences to steps with explicit state."""
