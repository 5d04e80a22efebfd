"""Operators: what a stored weight becomes in the graph."""
