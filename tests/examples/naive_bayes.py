"""Gaussian naive Bayes in one round: the moments of every column in every class (as scikit-learn's GaussianNB)."""

from dataclasses import dataclass

import numpy as np

from mrml.extend import Algorithm, Block, Into, Model, Moments, Prediction, Schema, State, param


@dataclass(frozen=True)
class GaussianNB(Algorithm):
    target = "classes"
    var_smoothing: float = param(1e-9, "share of the largest variance that is added to all", low=0.0)

    def init(self, schema: Schema) -> State:
        return State({"n_features": schema.design.n_features, "n_classes": len(schema.design.classes)})

    def statistic(self, state: State, key: str) -> Moments:
        return Moments(state["n_features"])

    def map(self, state: State, block: Block, into: Into) -> None:
        for k in range(state["n_classes"]):
            into[f"class {k}"].fill(block.X[block.y == k], None)  # type: ignore[attr-defined]

    def update(self, state: State, values: dict) -> State:
        classes = [values[f"class {k}"] for k in range(state["n_classes"])]
        everything = Moments(state["n_features"])
        for moments in classes:
            everything.merge(moments)
        smooth = self.var_smoothing * everything.m2.max() / everything.n_rows
        normal = np.array([[m.mean, m.m2 / m.n_rows + smooth] for m in classes])  # (n_classes, 2, n_features)
        prior = np.array([m.n_rows for m in classes]) / everything.n_rows
        return state.next("read off in one round", fitted={"normal": normal, "prior": prior})

    def model(self, state: State, schema: Schema) -> Model:
        return GaussianNBModel(state["fitted"])


@dataclass
class GaussianNBModel(Model):
    fitted: dict
    output = "classes"

    def predict(self, block: Block) -> Prediction:
        mean, variance = self.fitted["normal"].swapaxes(0, 1)
        distance = ((block.X[:, None] - mean) ** 2 / variance + np.log(2 * np.pi * variance)).sum(axis=2)
        raw = np.log(self.fitted["prior"]) - distance / 2
        probability = np.exp(raw - np.logaddexp.reduce(raw, axis=1, keepdims=True))
        return Prediction(raw.argmax(axis=1).astype(float), probability, raw)

    def header(self) -> dict:
        return {}

    def arrays(self) -> dict:
        return self.fitted

    @classmethod
    def from_parts(cls, header: dict, arrays: dict) -> Model:
        return cls(dict(arrays))
