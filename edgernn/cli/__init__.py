"""The command line: one command per file, and the only place for typer and rich."""

from edgernn.cli.app import main as main
