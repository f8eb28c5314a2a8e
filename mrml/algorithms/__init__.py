"""The table of algorithms: one line for each; the command line, the docs and the contract tests read it.

The standard library only, so that ``mrml --help`` needs no NumPy.  An algorithm of the user's own needs no
line here: it is named ``package.module:Class``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mrml.errors import ConfigError, nearest

if TYPE_CHECKING:
    from mrml.algorithm import Algorithm


class Entry(NamedTuple):
    """``path`` is ``module:Class``, ``summary`` a line for the help and the docs, ``estimator`` its name in Python."""

    path: str
    summary: str
    estimator: str


TABLE: dict[str, Entry] = {
    "linear": Entry("mrml.algorithms.linear.glm:Linear", "least squares: a number, for example a price", "Linear"),
    "logistic": Entry(
        "mrml.algorithms.linear.glm:Logistic",
        "logistic regression: one of two classes, with its probability",
        "Logistic",
    ),
    "softmax": Entry(
        "mrml.algorithms.linear.glm:Softmax", "multinomial logistic regression: one of several classes", "Softmax"
    ),
    "poisson": Entry(
        "mrml.algorithms.linear.glm:Poisson", "Poisson regression with log link: a count or a rate", "Poisson"
    ),
    "boosting": Entry(
        "mrml.algorithms.trees.boosting:Boosting", "gradient boosted trees, as XGBoost's and LightGBM's", "Boosting"
    ),
    "forest": Entry(
        "mrml.algorithms.trees.forest:Forest", "random forest: numbers or classes by the mean of many trees", "Forest"
    ),
    "mlp": Entry("mrml.algorithms.sgd.mlp:MLP", "neural network by SGD: local steps and averaged rounds", "MLP"),
    "factorization-machine": Entry(
        "mrml.algorithms.sgd.mlp:FactorizationMachine",
        "pairs of columns by factors: numbers or two classes",
        "FactorizationMachine",
    ),
    "torch": Entry(
        "mrml.algorithms.sgd.torch_module:TorchModule", "a torch.nn.Module of your own by SGD", "TorchModule"
    ),
    "kmeans": Entry(
        "mrml.algorithms.clustering.kmeans:KMeans", "k-means with k-means|| seeding: groups of similar rows", "KMeans"
    ),
}


#: algorithms that `--solver sgd` makes others of, with hyperparameters of their own
SGD = {name: f"mrml.algorithms.linear.sgd:{name.capitalize()}" for name in ("linear", "logistic", "softmax", "poisson")}


def algorithm_class(name: str, solver: object = None) -> type[Algorithm]:
    """The class of a name of the table or of ``package.module:Class``; ConfigError for an unknown one."""
    from mrml.algorithm import Algorithm, load_class  # they load NumPy, which help and usage errors do without

    found: type[Algorithm] = load_class(locate(name, solver), Algorithm)
    return found


def locate(name: str, solver: object = None) -> str:
    """``module:Class`` of a name of the table or of a path; ConfigError with the nearest name otherwise."""
    if solver == "sgd" and name in SGD:
        return SGD[name]
    if name in TABLE:
        return TABLE[name].path
    if ":" in name:
        return name
    remedy = f"{nearest(name, TABLE)} (your own is package.module:Class)"
    raise ConfigError("algorithm", f"{name!r} is unknown", remedy)
