"""Runs the command ``pos3`` as ``python -m pos3.cli``."""

import sys

from pos3.cli import main

if __name__ == "__main__":
    sys.exit(main())
