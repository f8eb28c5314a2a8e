"""Files of networks: the bytes of safetensors by hand, of torch by torch, of ONNX by the onnx library."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import numpy as np

from mrml.export.net import NetExport
from mrml.kernels.device import torch_of


def encoded(export: NetExport, to: str) -> bytes:
    """The bytes of the file."""
    if to == "onnx":
        from mrml.export.net_onnx import to_onnx  # loads onnx, an extra

        return to_onnx(export)
    return to_torch(export) if to == "torch" else to_safetensors(export)


# ---- safetensors


def to_safetensors(export: NetExport) -> bytes:
    """A length, a JSON header, the bytes of the tensors (the format's own README); metadata are texts."""
    tensors = export.tensors()
    names = {np.dtype(np.float32): "F32", np.dtype(np.float64): "F64"}
    head: dict[str, Any] = {"__metadata__": {"mrml": json.dumps(export.header())}}
    at = 0
    for name, values in sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])):  # aligned by size
        head[name] = {
            "dtype": names[values.dtype],
            "shape": list(values.shape),
            "data_offsets": [at, at + values.nbytes],
        }
        at += values.nbytes
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = b"".join(tensors[name].tobytes() for name in head if name != "__metadata__")
    return struct.pack("<Q", len(text)) + text + data


# ---- torch


def to_torch(export: NetExport) -> bytes:
    """``torch.save`` of {"config": the header, "state": a state_dict}, which ``weights_only=True`` loads."""
    torch = torch_of("export --to torch")
    state = {name: torch.from_numpy(values.copy()) for name, values in export.tensors().items()}
    state.setdefault("moments", torch.zeros(0, dtype=torch.float64))
    file = io.BytesIO()
    torch.save({"config": export.header(), "state": state}, file)
    return file.getvalue()
