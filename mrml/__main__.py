"""``python -m mrml``: the command line."""

import sys

from mrml.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
