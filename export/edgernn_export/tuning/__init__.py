"""Tuning: the fastest form of a model on this machine that keeps a budget of quality, chosen by measurement."""
