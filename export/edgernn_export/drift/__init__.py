"""Drift: how far two models are apart along one long stream, and whether they generate alike."""
