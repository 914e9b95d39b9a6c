"""``python -m pos3.cli`` is the command ``pos3``."""

import sys

from pos3.cli import main

if __name__ == "__main__":
    sys.exit(main())
