"""The version of this package, which setup.cfg reads here, where the package lies, and what it computes with."""

import importlib.metadata
import platform
import sys
from pathlib import Path

__version__ = "0.1.0"

#: the folder of the package's files
PACKAGE = Path(__file__).parent
#: what has to be on PYTHONPATH so that the package is found
IMPORTED_FROM = str(PACKAGE.parent)
#: packages of others that compute, read or send, and what they are imported as
_PACKAGES = ("numpy", "pyarrow", "numba", "torch", "mrjob")


def versions() -> dict[str, str]:
    """Of this package, of Python and of the packages that this process has loaded."""
    found = {"mrml": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        if name in sys.modules:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:  # in an archive, without its metadata
                found[name] = str(getattr(sys.modules[name], "__version__", "unknown"))
    return found
