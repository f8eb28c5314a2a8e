"""``mrml tune`` as mrjob jobs, one a round for all candidates.

``python jobs/tune.py -r local FILE --output DIR``
"""

import sys

from mrml.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["tune", *sys.argv[1:], "--engine", "streaming"]))
