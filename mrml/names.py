"""What files call our classes, and whose code a file may name.

A model, the identity of a run and the task of a round name classes.  Ours have registered names with a version, such
as ``mrml.glm/1``, which stay when modules move: :data:`NAMES` tells where each lies, so nothing is imported before it
is known.  A class of the user's own is ``package.module:Class``.  To import a module runs it, so that one is imported
only where the user has named the module in this process (:func:`allow`): by training with it, or by
``--allow-import package.module``.  Tasks are told what their driver was allowed.

The version says in what form a class writes its parts.  Where that changes, the class gets a name with the next
version, and the old name leads to what still reads the old form.
"""

from __future__ import annotations

import importlib
from typing import Any

from mrml.errors import ConfigError, InputError

#: registered name -> module:Class
NAMES: dict[str, str] = {
    # algorithms
    "mrml.bin/1": "mrml.algorithms.pipeline.transforms:Bin",
    "mrml.boosting/1": "mrml.algorithms.trees.boosting:Boosting",
    "mrml.compare/1": "mrml.algorithms.evaluation.compare:Compare",
    "mrml.count-records/1": "mrml.algorithms.evaluation.counting:CountRecords",
    "mrml.count-times/1": "mrml.algorithms.search.times:CountTimes",
    "mrml.curves/1": "mrml.algorithms.evaluation.curves:Curves",
    "mrml.describe/1": "mrml.algorithms.evaluation.describe:Describe",
    "mrml.evaluate/1": "mrml.algorithms.evaluation.evaluate:Evaluate",
    "mrml.evaluate-clusters/1": "mrml.algorithms.evaluation.clusters:EvaluateClusters",
    "mrml.factorization-machine/1": "mrml.algorithms.sgd.mlp:FactorizationMachine",
    "mrml.fold/1": "mrml.algorithms.search.fold:Fold",
    "mrml.forest/1": "mrml.algorithms.trees.forest:Forest",
    "mrml.grid/1": "mrml.algorithms.search.grid:Grid",
    "mrml.hash/1": "mrml.algorithms.pipeline.transforms:Hash",
    "mrml.held/1": "mrml.algorithms.search.fold:Held",
    "mrml.impute/1": "mrml.algorithms.pipeline.transforms:Impute",
    "mrml.kmeans/1": "mrml.algorithms.clustering.kmeans:KMeans",
    "mrml.linear-sgd/1": "mrml.algorithms.linear.sgd:Linear",
    "mrml.linear/1": "mrml.algorithms.linear.glm:Linear",
    "mrml.logistic-sgd/1": "mrml.algorithms.linear.sgd:Logistic",
    "mrml.logistic/1": "mrml.algorithms.linear.glm:Logistic",
    "mrml.mlp/1": "mrml.algorithms.sgd.mlp:MLP",
    "mrml.one-hot/1": "mrml.algorithms.pipeline.transforms:OneHot",
    "mrml.pipeline-bins/1": "mrml.algorithms.pipeline.binned_pipeline:BinnedPipeline",
    "mrml.pipeline-codes/1": "mrml.algorithms.pipeline.coded_pipeline:CodedPipeline",
    "mrml.pipeline-facts/1": "mrml.algorithms.pipeline.coded_pipeline:FactsPipeline",
    "mrml.pipeline/1": "mrml.algorithms.pipeline.pipeline:Pipeline",
    "mrml.poisson-sgd/1": "mrml.algorithms.linear.sgd:Poisson",
    "mrml.poisson/1": "mrml.algorithms.linear.glm:Poisson",
    "mrml.search/1": "mrml.algorithms.search.search:Search",
    "mrml.softmax-sgd/1": "mrml.algorithms.linear.sgd:Softmax",
    "mrml.softmax/1": "mrml.algorithms.linear.glm:Softmax",
    "mrml.standard-errors/1": "mrml.algorithms.evaluation.standard_errors:StandardErrors",
    "mrml.standardise/1": "mrml.algorithms.pipeline.transforms:Standardise",
    "mrml.torch/1": "mrml.algorithms.sgd.torch_module:TorchModule",
    # models
    "mrml.glm-classifier/1": "mrml.algorithms.linear.model:GLMClassifier",
    "mrml.glm/1": "mrml.algorithms.linear.model:GLMModel",
    "mrml.grid-model/1": "mrml.algorithms.search.grid:GridModel",
    "mrml.kmeans-model/1": "mrml.algorithms.clustering.model:KMeansModel",
    "mrml.metrics/1": "mrml.algorithms.evaluation.parts:Metrics",
    "mrml.net/1": "mrml.algorithms.sgd.model:NetModel",
    "mrml.out-of-fold/1": "mrml.algorithms.search.out_of_fold:OutOfFold",
    "mrml.pipeline-model/1": "mrml.algorithms.pipeline.model:PipelineModel",
    "mrml.torch-model/1": "mrml.algorithms.sgd.torch_module:ModuleModel",
    "mrml.transform/1": "mrml.algorithms.pipeline.transforms:FittedTransform",
    "mrml.trees-classifier/1": "mrml.algorithms.trees.model:TreesClassifier",
    "mrml.trees/1": "mrml.algorithms.trees.model:TreesModel",
    # statistics
    "mrml.statistic.block-counts/1": "mrml.algorithms.evaluation.counting:BlockCounts",
    "mrml.statistic.counts/1": "mrml.statistic:Counts",
    "mrml.statistic.draw/1": "mrml.algorithms.clustering.rows:Draw",
    "mrml.statistic.extremes/1": "mrml.algorithms.trees.base:Extremes",
    "mrml.statistic.gradient-sum/1": "mrml.algorithms.sgd.statistics:GradientSum",
    "mrml.statistic.group-runs/1": "mrml.algorithms.objectives.lambdarank:GroupRuns",
    "mrml.statistic.learned/1": "mrml.algorithms.sgd.statistics:Learned",
    "mrml.statistic.levels/1": "mrml.algorithms.pipeline.statistics:Levels",
    "mrml.statistic.moments/1": "mrml.algorithms.pipeline.statistics:Moments",
    "mrml.statistic.quantiles/1": "mrml.algorithms.pipeline.statistics:Quantiles",
    "mrml.statistic.residuals/1": "mrml.algorithms.trees.renewal:Residuals",
    "mrml.statistic.scatter-moments/1": "mrml.algorithms.moments:Moments",
    "mrml.statistic.score-counts/1": "mrml.algorithms.evaluation.parts:ScoreCounts",
    "mrml.statistic.score-histogram/1": "mrml.algorithms.evaluation.parts:Histogram",
    "mrml.statistic.score-weights/1": "mrml.algorithms.evaluation.parts:ScoreWeights",
    "mrml.statistic.summary/1": "mrml.algorithms.pipeline.sketch:Summary",
    "mrml.statistic.sparse-summary/1": "mrml.algorithms.pipeline.sparse_sketch:SparseSummary",
    "mrml.statistic.sums/1": "mrml.statistic:Sums",
    "mrml.statistic.target-facts/1": "mrml.algorithms.pipeline.codes:TargetFacts",
    "mrml.statistic.tree-cells/1": "mrml.algorithms.trees.sparse:CellSums",
    "mrml.statistic.tree-histogram/1": "mrml.algorithms.trees.histogram:Histogram",
    "mrml.statistic.value-counts/1": "mrml.algorithms.search.times:ValueCounts",
}

#: what models and runs of format 1 call the same classes: where they lay then
FORMER: dict[str, str] = {
    "mrml.algorithms.binning:BinnedPipeline": "mrml.pipeline-bins/1",
    "mrml.algorithms.boosting:Boosting": "mrml.boosting/1",
    "mrml.algorithms.coded:CodedPipeline": "mrml.pipeline-codes/1",
    "mrml.algorithms.coded:FactsPipeline": "mrml.pipeline-facts/1",
    "mrml.algorithms.counting:CountRecords": "mrml.count-records/1",
    "mrml.algorithms.evaluation:Evaluate": "mrml.evaluate/1",
    "mrml.algorithms.evaluation_parts:Metrics": "mrml.metrics/1",
    "mrml.algorithms.forest:Forest": "mrml.forest/1",
    "mrml.algorithms.glm:Linear": "mrml.linear/1",
    "mrml.algorithms.glm:Logistic": "mrml.logistic/1",
    "mrml.algorithms.glm:Poisson": "mrml.poisson/1",
    "mrml.algorithms.glm:Softmax": "mrml.softmax/1",
    "mrml.algorithms.glm_model:GLMClassifier": "mrml.glm-classifier/1",
    "mrml.algorithms.glm_model:GLMModel": "mrml.glm/1",
    "mrml.algorithms.glm_sgd:Linear": "mrml.linear-sgd/1",
    "mrml.algorithms.glm_sgd:Logistic": "mrml.logistic-sgd/1",
    "mrml.algorithms.glm_sgd:Poisson": "mrml.poisson-sgd/1",
    "mrml.algorithms.glm_sgd:Softmax": "mrml.softmax-sgd/1",
    "mrml.algorithms.kmeans:KMeans": "mrml.kmeans/1",
    "mrml.algorithms.kmeans_model:KMeansModel": "mrml.kmeans-model/1",
    "mrml.algorithms.mlp:FactorizationMachine": "mrml.factorization-machine/1",
    "mrml.algorithms.mlp:MLP": "mrml.mlp/1",
    "mrml.algorithms.net_model:NetModel": "mrml.net/1",
    "mrml.algorithms.pipeline:Pipeline": "mrml.pipeline/1",
    "mrml.algorithms.pipeline:PipelineModel": "mrml.pipeline-model/1",
    "mrml.algorithms.torch_module:ModuleModel": "mrml.torch-model/1",
    "mrml.algorithms.torch_module:TorchModule": "mrml.torch/1",
    "mrml.algorithms.transforms:Bin": "mrml.bin/1",
    "mrml.algorithms.transforms:FittedTransform": "mrml.transform/1",
    "mrml.algorithms.transforms:Hash": "mrml.hash/1",
    "mrml.algorithms.transforms:Impute": "mrml.impute/1",
    "mrml.algorithms.transforms:OneHot": "mrml.one-hot/1",
    "mrml.algorithms.transforms:Standardise": "mrml.standardise/1",
    "mrml.algorithms.trees_model:TreesClassifier": "mrml.trees-classifier/1",
    "mrml.algorithms.trees_model:TreesModel": "mrml.trees/1",
}

_NAME_OF = {path: name for name, path in NAMES.items()}
#: modules of the user's own that this process may import; like sys.modules a fact of the process
_allowed: set[str] = set()


def allow(*modules: str) -> None:
    """Allow modules of the user's own to be imported, because he has named them; of ``module:Class`` the module."""
    _allowed.update(module.partition(":")[0] for module in modules if module not in _NAME_OF)


def allowed() -> list[str]:
    """The modules that this process may import, for its tasks."""
    return sorted(_allowed)


def name_of(cls: type) -> str:
    """The registered name of a class of ours; of another one ``module:Class``, whose code runs here already."""
    path = f"{cls.__module__}:{cls.__qualname__}"
    if path not in _NAME_OF:
        allow(path)
    return _NAME_OF.get(path, path)


def present(name: str) -> str:
    """The name that a class has now; it may be what format 1 called it."""
    return FORMER.get(name, name)


def short(name: str) -> str:
    """A name for people: ``glm`` for ``mrml.glm/1``, ``Class`` for ``package.module:Class``."""
    return present(name).rpartition(":")[2].removeprefix("mrml.").partition("/")[0]


def find(name: str, base: type, place: str) -> Any:
    """The class that a file names.

    Parameters
    ----------
    name : a registered name, what format 1 called it, or ``package.module:Class`` of the user's own.
    base : what it must be a subclass of.
    place : what names it, for errors.

    Raises
    ------
    InputError
        Nobody has registered the name, or it is no ``base``.
    ConfigError
        It is of a module that nobody has named in this process, which then is not imported, or that cannot be imported.
    """
    name = present(name)
    path = NAMES.get(name, name)
    if path == name:
        if ":" not in name.strip(":"):
            remedy = "use the version of mrml that wrote it, or a newer one"
            raise InputError(place, f"names {name!r}, which this mrml does not know", remedy)
        require(name, place)
    try:
        found = imported(path)
    except ConfigError as error:
        raise ConfigError(place, f"{name} {error.finding}", "install its package") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise InputError(place, f"{name} is not a subclass of {base.__name__}", "use the version of mrml that wrote it")
    return found


def require(path: str, place: str) -> None:
    """ConfigError where nobody has named the module of ``module:name`` in this process."""
    module = path.partition(":")[0]
    if module not in _allowed:
        finding = f"needs code of your own, {path}, which is not allowed to run"
        remedy = f"if you trust it, use --allow-import {module} (Python: allow_import={module!r})"
        raise ConfigError(place, finding, remedy)


def imported(path: str) -> Any:
    """What is at ``module:Class``; ConfigError where there is nothing, or the module does not run."""
    module_name, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(path, f"cannot be imported: {error}", "give it as package.module:Class") from error
    except Exception as error:  # whatever a module of the user's own does when it is imported
        raise ConfigError(path, f"cannot be imported: {type(error).__name__}: {error}", "fix the module") from error
    return found
