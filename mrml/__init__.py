"""mrml: batch machine learning as MapReduce.

>>> import mrml                                                      # doctest: +SKIP
>>> model = mrml.Logistic(l2=1e-4).fit("data/", target="y")          # doctest: +SKIP
"""

from typing import Any

import mrml.pin as pin
from mrml.version import __version__

#: names of ``mrml.X`` -> names of the table of algorithms
ESTIMATORS = {
    "Linear": "linear",
    "Logistic": "logistic",
    "Softmax": "softmax",
    "Poisson": "poisson",
    "Boosting": "boosting",
    "Forest": "forest",
    "MLP": "mlp",
    "FactorizationMachine": "factorization-machine",
    "TorchModule": "torch",
    "KMeans": "kmeans",
}

__all__ = ["Estimator", "FittedModel", "__version__", "load", "pin", *ESTIMATORS]


def __getattr__(name: str) -> Any:
    """Estimators are looked up when they are asked for: ``import mrml`` loads no NumPy."""
    if name in ESTIMATORS:
        from functools import partial

        from mrml.api import Estimator

        return partial(Estimator, ESTIMATORS[name])
    if name in ("Estimator", "FittedModel", "load"):
        import mrml.api

        return getattr(mrml.api, name)
    raise AttributeError(f"module 'mrml' has no attribute {name!r}")
