"""mrml: batch machine learning as MapReduce.

>>> import mrml                                                      # doctest: +SKIP
>>> model = mrml.Logistic(l2=1e-4).fit("data/", target="y")          # doctest: +SKIP
"""

from typing import Any

import mrml.pin as pin
from mrml.algorithms import TABLE
from mrml.version import __version__

_ESTIMATORS = tuple(entry.estimator for entry in TABLE.values())

__all__ = ["Estimator", "FittedModel", "__version__", "load", "pin", *_ESTIMATORS]


def __getattr__(name: str) -> Any:
    """Estimators are looked up when they are asked for: ``import mrml`` loads no NumPy."""
    if name in _ESTIMATORS:
        from mrml.api.estimators import class_of

        return class_of(name)
    if name in ("Estimator", "FittedModel", "load"):
        import mrml.api

        return getattr(mrml.api, name)
    raise AttributeError(f"module 'mrml' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
