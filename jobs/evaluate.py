"""``mrml evaluate`` as mrjob jobs: ``python jobs/evaluate.py -r local MODEL --data DATA``."""

import sys

from mrml.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:], "--engine", "streaming"]))
