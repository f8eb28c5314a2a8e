"""Where the torch kernel computes: the CPU, or a GPU that is there.

torch itself is imported only where a device is asked for.  Floor 1.
"""

from __future__ import annotations

import importlib.util
import re
from typing import Any

from mrml import pin
from mrml.errors import ConfigError

_PLACE = "algorithm, device"
_INSTALL = "install the torch extra: pip install 'mrml[torch]'"


def torch_here() -> bool:
    """Whether torch is installed."""
    return importlib.util.find_spec("torch") is not None


def torch_of(place: str) -> Any:
    """The torch module; ConfigError naming ``place`` where it is not installed or cannot be loaded."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library of its own that does not load
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(place, f"needs torch, which cannot be imported here: {told}", _INSTALL) from error
    return torch


def device_of(name: str) -> str:
    """The device of a name: cpu, or cuda:N.

    ``auto`` is a GPU where torch and one are there, else cpu.  ``cuda`` without a number is dealt out: worker k gets
    number k modulo their count.

    Raises
    ------
    ConfigError : for another name, without torch, without CUDA, or for a number that is not there.
    """
    if name == "cpu" or (name == "auto" and not torch_here()):
        return "cpu"
    if name != "auto" and not re.fullmatch(r"cuda(:\d+)?", name):
        raise ConfigError(_PLACE, f"{name!r} is unknown", "say auto, cpu, cuda or cuda:1")
    torch = torch_of(f"--device {name}")
    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return f"cuda:{pin.worker % n_devices}" if n_devices else "cpu"
    if not n_devices:
        build = "has no CUDA in it" if torch.version.cuda is None else "finds no GPU"
        remedy = "use --device cpu or auto; `nvidia-smi` shows whether the driver sees a GPU"
        raise ConfigError(f"--device {name}", f"torch {torch.__version__} {build} on this machine", remedy)
    number = int(name[5:]) if ":" in name else pin.worker % n_devices
    if number >= n_devices:
        here = "1 GPU is" if n_devices == 1 else f"{n_devices} GPUs are"
        raise ConfigError(f"--device {name}", f"{here} here, and numbers count from 0", "use --device cuda")
    return f"cuda:{number}"
