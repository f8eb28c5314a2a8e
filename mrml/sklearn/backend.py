"""joblib's calls by resident tasks: scikit-learn's own code on the cluster, or on processes of this machine.

>>> import joblib, mrml.sklearn                                                              # doctest: +SKIP
>>> with joblib.parallel_backend("mrml", engine="resident", runner="hadoop", workers=8):     # doctest: +SKIP
...     cross_val_score(SVC(), X, y)

What a call needs travels by cloudpickle, signed with the run's secret (:mod:`mrml.engines.resident.sealed`); large
arrays once a node.  A call whose task is lost is made again.  Tasks stay for ``idle_release_s``, for whatever is called
next with the same options; ``mrml.sklearn.backend.close_all()`` ends them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from joblib.parallel import (  # type: ignore[import-untyped]
    ParallelBackendBase,
    SequentialBackend,
    register_parallel_backend,
)

from mrml.config.given import section_of
from mrml.config.sections import EngineConfig
from mrml.engines.resident.pool import close_all, pool_of

__all__ = ["Backend", "close_all"]

#: characters of an argument in the name of a call
_LONGEST = 60


class Backend(ParallelBackendBase):  # type: ignore[misc]
    """joblib's backend ``mrml``; ``options`` are those of the section engine (runner, workers, memory_mb, ...).

    A call goes to a task alone unless ``Parallel(batch_size=...)`` says else: it takes 1 ms on its way, and one that
    takes all memory is known by its name.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = False
    default_n_jobs = -1

    def __init__(self, nesting_level: int | None = None, **options: Any) -> None:
        super().__init__(nesting_level=nesting_level)
        # joblib has the backend end after every call of Parallel, where the next one would have to start tasks again
        self.pool = pool_of(section_of(EngineConfig, {"engine": "resident", **options}))

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """As many as there are tasks; joblib makes the calls of one job itself, so a single task counts for two."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        wanted = self.pool.n_tasks if n_jobs is None else n_jobs if n_jobs > 0 else self.pool.n_tasks + 1 + n_jobs
        return 1 if n_jobs == 1 else max(2, min(wanted, self.pool.n_tasks))

    def submit(self, func: Any, callback: Callable[[Future[Any]], None] | None = None) -> Future[Any]:
        """Have a batch of calls made."""
        future = self.pool.submit(func, named(getattr(func, "items", ())), self)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """The result of a batch, or what it raised."""
        return out.result()

    def get_nested_backend(self) -> tuple[Any, int | None]:
        """Calls inside of a call run one after the other: a task has one core."""
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Forget the calls that are under way."""
        self.pool.drop(self)


def named(items: Sequence[Any]) -> str:
    """A batch of joblib's calls as an error names it: of a candidate of a search its hyperparameters and its split."""
    names = [_named(*item) for item in items] or ["a call"]
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]


def _named(function: Any, args: Sequence[Any], given: dict[str, Any]) -> str:
    function = getattr(function, "function", function)  # in scikit-learn's wrapper
    if given.get("parameters") is not None:
        known = ", ".join(f"{name}={_short(value)}" for name, value in given["parameters"].items())
        return f"candidate {type(args[0]).__name__ if args else ''}({known}){_split(given)}"
    told = [*map(_short, args), *(f"{name}={_short(value)}" for name, value in given.items())]
    return f"{getattr(function, '__name__', type(function).__name__)}({', '.join(told)})"


def _split(given: dict[str, Any]) -> str:
    at = given.get("split_progress")
    return f" on split {at[0] + 1} of {at[1]}" if at else ""


def _short(value: Any) -> str:
    if hasattr(value, "shape") and not isinstance(value, np.generic):
        return f"{type(value).__name__} of shape {value.shape}"
    told = " ".join(repr(value).split())
    return told if len(told) <= _LONGEST else told[: _LONGEST - 1] + "…"


register_parallel_backend("mrml", Backend)
