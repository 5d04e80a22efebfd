"""Artefacts: what the models of a task make, beside numbers; no file here needs the command line."""
