"""Options that come from algorithms: which there are is looked up here, where algorithms are known."""

from __future__ import annotations

from mrml.algorithms import TABLE, locate
from mrml.config.sources import Option, options, run_options, see_current_directory


def every_option() -> list[Option]:
    """Every option of a training run with any algorithm of the table."""
    hyper = [option for name in TABLE for option in options(load_algorithm(name), "algorithm")]
    return run_options(None) + hyper


def load_algorithm(name: str, solver: str = "") -> type:
    """The class of a name of the table or of ``package.module:Class``, the current directory included."""
    from mrml.algorithm import Algorithm, load_class  # they load NumPy, which help and usage errors do without

    if name not in TABLE and ":" in name:
        see_current_directory()
    found: type = load_class(locate(name, solver), Algorithm)
    return found
