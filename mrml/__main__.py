"""``python -m mrml`` is ``mrml``."""

import sys

from mrml.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
