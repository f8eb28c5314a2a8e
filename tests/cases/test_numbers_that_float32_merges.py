"""Trees see float32: where that makes one number of many, it is told while training, with what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mrml

RNG = np.random.default_rng(4)
#: columns whose values mostly become the same float32
MERGED = {
    "seconds since 1970": 1_700_000_000 + np.arange(250),
    "ids beyond 2**53": 2**54 + 2 * np.arange(250),
    "a price in cents of a large sum": 3e9 + RNG.uniform(0, 1, 250),
}
FINE = {
    "seconds of a year": 1_700_000_000 + 86400 * np.arange(250),
    "decimals": RNG.uniform(0, 1, 250).round(4),
    "few whole numbers": np.arange(250) % 3,
    "large and far apart": 1e12 * np.arange(250),
    "constant": np.full(250, 1_700_000_001),
}


@pytest.mark.parametrize("name", [*MERGED, *FINE])
def test_a_column_that_float32_merges_is_told_with_what_to_subtract(name: str, tmp_path: Path) -> None:
    values = {**MERGED, **FINE}[name]
    lines = [f"{v!r},{k % 2}" for k, v in enumerate(values.tolist())]
    (tmp_path / "rows.csv").write_text("\n".join(["t,y", *lines]) + "\n")
    fit = mrml.Boosting(objective="logistic", rounds=2).fit
    notes = fit(tmp_path / "rows.csv", target="y", engine="inline").facts["notes"]
    told = [note for note in notes if "float32" in note]
    assert len(told) == (name in MERGED)
    if told:
        assert f"subtract {values.min():.10g} from it" in told[0] and told[0].startswith("column 't': ")


def test_what_the_note_says_helps(tmp_path: Path) -> None:
    t = MERGED["seconds since 1970"]
    y = (np.arange(250) // 25) % 2
    for name, values in (("as it is", t), ("as told", t - 1_700_000_000)):
        lines = [f"{v},{c}" for v, c in zip(values.tolist(), y.tolist(), strict=True)]
        (tmp_path / "rows.csv").write_text("\n".join(["t,y", *lines]) + "\n")
        model = mrml.Boosting(objective="logistic", growth="leafwise").fit(
            tmp_path / "rows.csv", target="y", engine="inline", overwrite=True
        )
        assert (model.metrics["auc"] > 0.95) is (name == "as told")
