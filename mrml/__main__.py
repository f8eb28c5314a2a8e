"""``python -m mrml``: the command line."""

import os
import sys

# Python looks for every module, NumPy too, in the current directory first; here it comes last, and stays where it holds
# mrml itself
if sys.path[:1] == [os.getcwd()]:
    sys.path.append(sys.path.pop(0))

from mrml.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
