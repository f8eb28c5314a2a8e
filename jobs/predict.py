"""``mrml predict`` as a map-only mrjob job: ``python jobs/predict.py -r local MODEL --data DATA --output DIR``."""

import sys

from mrml.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:], "--engine", "streaming"]))
