"""``mrml train`` as mrjob jobs, one a round.

``python jobs/train.py -r local logistic --data DATA --target COL --output DIR``
"""

import sys

from mrml.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:], "--engine", "streaming"]))
