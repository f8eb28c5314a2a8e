"""An exported network is loaded by the library it is for, and scores the probe as the model does; or it is refused.

A process of its own does it: what is checked is a file, in a library that nothing of ours has touched.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mrml.arrays import Array
from mrml.export.check import PROBABILITY, RAW, REMEDY, Checked, ExportDiffers
from mrml.export.net import FORMATS, NetExport, linked
from mrml.kernels.net.describe import Inputs, Net

_CODE = "import sys; sys.path[:] = {path!r}; from mrml.export import net_check; net_check.main(*{args!r})"


class Rows(NamedTuple):
    """What is scored in two ways: raw numbers and codes, and what the network reads of them."""

    x: Array
    codes: Array
    inputs: Inputs


def checked(content: bytes, to: str, export: NetExport, rows: Rows, raw: Array) -> Checked | str:
    """What a comparison in the library itself found, or why there was none; ExportDiffers where it reads otherwise.

    Parameters
    ----------
    raw : (n, n_outputs) float64, the model's own raw predictions without offsets.
    """
    library = FORMATS[to]
    if importlib.util.find_spec(library) is None:
        return f"{library} is not installed"
    with tempfile.TemporaryDirectory(prefix="mrml-") as folder:
        model, given, out = (str(Path(folder) / name) for name in ("model", "given.npz", "out.npz"))
        Path(model).write_bytes(content)
        np.savez(given, x=rows.x, codes=rows.codes, inputs=rows.inputs.x)
        code = _CODE.format(path=sys.path, args=(to, model, given, out))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, errors="replace")
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            raise ExportDiffers(library, f"does not read the export: {said[-1] if said else 'it crashed'}", REMEDY)
        with np.load(out) as found:
            return _compared(library, export, raw, found["raw"], found["prediction"], str(found["version"]))


def _compared(library: str, export: NetExport, raw: Array, theirs: Array, prediction: Array, version: str) -> Checked:
    ours = linked(export.link, raw)
    if theirs.shape != raw.shape or prediction.shape != ours.shape:
        finding = f"it makes {theirs.shape} raw predictions and {prediction.shape} others"
        raise ExportDiffers(f"{library} {version}", f"{finding} instead of {raw.shape} and {ours.shape}", REMEDY)
    off = np.abs(theirs - raw) / np.maximum(1.0, np.abs(raw))
    apart = np.abs(prediction - ours) / (1.0 if export.classes else np.maximum(1.0, np.abs(ours)))
    for what, values, limit in (
        ("raw prediction", off, RAW),
        ("prediction", apart, PROBABILITY if export.classes else RAW),
    ):
        if not (values <= limit).all():
            row = int(np.flatnonzero(~(values <= limit).all(axis=1))[0])
            finding = f"its {what} of row {row} of the probe differs by {values[row].max():.2g}"
            raise ExportDiffers(f"{library} {version}", f"reads the export as another model: {finding}", REMEDY)
    return Checked(library, version, len(raw), float(off.max(initial=0.0)), float(apart.max(initial=0.0)))


def main(to: str, model: str, given: str, out: str) -> None:
    """What the process does."""
    with np.load(given) as rows:
        raw, prediction, version = _BY[to](model, rows)
    np.savez(out, raw=raw, prediction=prediction, version=version)


def _onnx(model: str, rows: Any) -> tuple[Array, Array, str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    given = {i.name: rows["x"] if i.name == "X" else rows["codes"] for i in session.get_inputs()}
    prediction, raw = session.run(["prediction", "raw"], given)
    return raw, prediction, str(onnxruntime.__version__)


def _torch(model: str, rows: Any) -> tuple[Array, Array, str]:
    import torch

    from mrml.kernels.net.torch_net import module_of

    saved = torch.load(model, weights_only=True)
    module = module_of(saved["config"]["net"]).eval()
    module.load_state_dict(saved["state"])
    with torch.no_grad():
        raw = module(torch.from_numpy(rows["inputs"]), torch.from_numpy(rows["codes"])).double()
    link = {"softmax": lambda z: torch.softmax(z, 1), "exp": torch.exp, "identity": lambda z: z,
            "sigmoid": lambda z: torch.sigmoid(torch.cat([-z, z], 1))}[saved["config"]["link"]]  # fmt: skip
    return raw.numpy(), link(raw).numpy(), str(torch.__version__)


def _safetensors(model: str, rows: Any) -> tuple[Array, Array, str]:
    """The tensors as the library reads them, by the NumPy kernel: the format holds no network."""
    import safetensors

    from mrml.kernels.net.numpy import predict

    with safetensors.safe_open(model, "np") as file:
        header = json.loads(file.metadata()["mrml"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
    net = Net.from_json(header["net"])
    params = np.concatenate([tensors[slot.name].ravel() for slot in net.slots])
    raw = predict(net, params, tensors.get("moments", np.empty(0)), Inputs(rows["inputs"], rows["codes"]))
    return raw, linked(header["link"], raw), str(safetensors.__version__)


_BY = {"onnx": _onnx, "torch": _torch, "safetensors": _safetensors}
