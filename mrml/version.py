"""The version of this package, which setup.cfg reads here, and where the package lies."""

from pathlib import Path

__version__ = "0.1.0"

#: the folder of the package's files
PACKAGE = Path(__file__).parent
#: what has to be on PYTHONPATH so that the package is found
IMPORTED_FROM = str(PACKAGE.parent)
