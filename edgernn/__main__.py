"""`python -m edgernn` is the `edgernn` command."""

from edgernn.cli import main

if __name__ == "__main__":
    main()
