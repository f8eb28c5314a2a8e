"""What the author of an algorithm imports: the contract in one line.

>>> from mrml.extend import Algorithm, Block, Into, Model, Moments, Prediction, Schema, State, Sums, param
"""

from mrml.algorithm import Algorithm, State
from mrml.algorithms.pipeline.statistics import Levels, Moments, Quantiles
from mrml.arrays import CSR, Array
from mrml.data.block import Block
from mrml.kernels.random import rng
from mrml.model import Model, Prediction
from mrml.params import param
from mrml.schema import Design, Schema
from mrml.statistic import Counts, Into, Statistic, Sums

__all__ = [
    "CSR",
    "Algorithm",
    "Array",
    "Block",
    "Counts",
    "Design",
    "Into",
    "Levels",
    "Model",
    "Moments",
    "Prediction",
    "Quantiles",
    "Schema",
    "State",
    "Statistic",
    "Sums",
    "param",
    "rng",
]
