"""Trees over sparse columns: one model to the byte however the codes are kept, and as many columns as there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrml.algorithms.pipeline import binned_pipeline, bins
from mrml.algorithms.pipeline.model import PipelineModel
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.model import load
from mrml.runs import train as run

N_ROWS, N_COLUMNS = 300, 90


def written(path: Path, stretch: int, weighted: bool = False) -> Path:
    """Rows of 90 columns of numbers, zeros and NaN, at indices that are ``stretch`` apart."""
    rng = np.random.default_rng(5)
    w = rng.normal(size=N_COLUMNS)
    lines = []
    for _ in range(N_ROWS):
        at = np.flatnonzero(rng.random(N_COLUMNS) < 0.6 / (1 + np.arange(N_COLUMNS) % 9) ** 2)
        values = np.round(rng.normal(size=len(at)) * (rng.random(len(at)) < 0.9), 1)
        label = int((w[at] * values).sum() + rng.normal() / 4 > 0)
        texts = ["nan" if rng.random() < 0.05 else f"{v:g}" for v in values]
        weight = f":{rng.random() + 0.5:.2f}" if weighted else ""
        lines.append(f"{label}{weight} " + " ".join(f"{stretch * j + 1}:{t}" for j, t in zip(at, texts, strict=True)))
    path.write_text("\n".join(lines) + "\n")
    return path


def trained(path: Path, folder: Path, params: dict[str, Any], **data: Any) -> PipelineModel:
    params = {"objective": "logistic", "rounds": 4, "min_child_weight": 0.5, "max_depth": 4, **params}
    found = DataConfig(data=(str(path),), **data)
    run.train(RunConfig("boosting", params, found, EngineConfig(engine="inline"), str(folder), overwrite=True))
    model = load(folder)
    assert isinstance(model, PipelineModel)
    return model


@pytest.mark.parametrize("absent", ["missing", "zero"])
@pytest.mark.parametrize(
    "params", [{}, {"growth": "leafwise", "min_data_in_leaf": 5}, {"colsample_bynode": 0.5, "subsample": 0.8}]
)
def test_the_model_of_sparse_columns_is_that_of_dense_ones_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: str, params: dict[str, Any]
) -> None:
    path, data = written(tmp_path / "rows.svm", 1, True), {"absent": absent, "weight": "weight", "window_bytes": 4096}
    for share, name in ((1 << 20, "dense"), (0, "sparse")):
        monkeypatch.setattr(binned_pipeline, "DENSE_SHARE", share)
        model = trained(path, tmp_path / name, params, **data)
        assert model.inner.trees.feature.max() >= 0  # type: ignore[attr-defined]
    for name in ("model.json", "model.npz"):
        assert (tmp_path / "dense" / name).read_bytes() == (tmp_path / "sparse" / name).read_bytes()


def test_columns_far_apart_make_the_trees_of_columns_side_by_side_and_score_alike(tmp_path: Path) -> None:
    near, far = written(tmp_path / "near.svm", 1), written(tmp_path / "far.svm", 2000)
    one, other = (trained(path, tmp_path / path.stem, {}) for path in (near, far))
    a, b = one.inner.trees, other.inner.trees  # type: ignore[attr-defined]
    assert len(other.inner.names) > bins.DENSE_COLUMNS  # type: ignore[attr-defined]
    assert np.where(a.feature > 0, a.feature * 2000, a.feature).tolist() == b.feature.tolist()
    assert a.value.tolist() == b.value.tolist()
    scores = []
    for model, path in ((one, near), (other, far)):
        scores.append(model.predict(next(rows_of(model, path))).raw_prediction)
    assert scores[0].tolist() == scores[1].tolist()


def rows_of(model: PipelineModel, path: Path) -> Any:
    dataset = run.scoring_config(model, DataConfig(data=(str(path),)), ("feature",))
    return (block for split in dataset.splits(1 << 20) for part in split for block in dataset.read(part))
