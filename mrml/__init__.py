"""mrml: batch machine learning as MapReduce."""

from mrml.pin import pin

__version__ = "0.1.0"

PINNED = pin()
