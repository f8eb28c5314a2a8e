"""Objects on their way from the user's own process to the user's own tasks and back: cloudpickle, signed with the
secret of the run.

Reading a pickle runs what is in it, so nothing else in the project does; here it is read only when HMAC-SHA256 over its
purpose, the digests of its arrays and all of its bytes proves that who wrote it knows the secret of this run.  A proof
names one call or the answer to one call, so that neither stands for another.

Large arrays (pickle protocol 5, :pep:`574`) travel beside the pickle: whoever reads it gets them as read-only memory.
"""

from __future__ import annotations

import hmac
import io
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mrml.arrays import Array
from mrml.errors import EngineError

#: buffers from here on travel beside the pickle, where there is a way beside it
LEAST_BYTES = 256 << 10


def packed(what: Any, beside: Callable[[memoryview], str] | None = None) -> dict[str, Any]:
    """An object as a message that is to be signed: ``body`` (n_bytes,) uint8, and digests of its ``arrays``.

    ``beside`` takes a large buffer and returns its digest.  EngineError for what cannot be pickled.
    """
    import cloudpickle  # type: ignore[import-untyped]  # joblib has brought it

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            # NumPy pickles what is not contiguous into the stream, again for every call
            if type(obj) is np.ndarray and obj.nbytes >= LEAST_BYTES and not (obj.flags.forc or obj.dtype.hasobject):
                return np.ascontiguousarray(obj).__reduce_ex__(5)
            return super().reducer_override(obj)

    arrays: list[str] = []

    def aside(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if beside is None or raw.nbytes < LEAST_BYTES:
            return True
        arrays.append(beside(raw))
        return False

    out = io.BytesIO()
    try:
        Pickler(out, protocol=5, buffer_callback=aside).dump(what)
    except Exception as error:  # whatever an object says of it
        remedy = "leave out what holds files, locks or connections"
        raise EngineError("a call or its answer", f"cannot be pickled: {error}", remedy) from error
    return {"body": np.frombuffer(out.getbuffer(), np.uint8), "arrays": arrays}


def signed(secret: bytes, purpose: str, message: dict[str, Any]) -> dict[str, Any]:
    """A message of :func:`packed` with its ``proof``."""
    return {**message, "proof": _proof(secret, purpose, message["arrays"], message["body"])}


def opened(secret: bytes, purpose: str, told: dict[str, Any], array: Callable[[str], Any] | None = None) -> Any:
    """The object of a message; ``array`` finds the bytes of a digest.  EngineError where the proof does not hold."""
    body, arrays = told["body"], list(told["arrays"])
    if not hmac.compare_digest(str(told["proof"]).encode(), _proof(secret, purpose, arrays, body).encode()):
        raise EngineError(
            purpose, "is not signed with the secret of this run", "it was not opened; start the run again"
        )
    return pickle.loads(body.data, buffers=[array(digest) for digest in arrays] if array else [])


def _proof(secret: bytes, purpose: str, arrays: Sequence[str], body: Array) -> str:
    mac = hmac.new(secret, f"mrml sealed {purpose}\n{' '.join(arrays)}\n".encode(), "sha256")
    mac.update(body.data)
    return mac.hexdigest()
