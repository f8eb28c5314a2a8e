"""A command that kills itself with SIGKILL when its engine is asked for the n-th time: ``python -m ... N WORDS``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from mrml import pin

ROOT = Path(__file__).parents[2]


def dies(at: int, *words: str) -> bool:
    """Whether the command ``mrml WORDS`` was killed at its n-th round or scoring; False: it was done before that."""
    code = subprocess.run([sys.executable, "-m", __name__, str(at), *words], cwd=ROOT, capture_output=True).returncode
    assert code in (0, -signal.SIGKILL), code
    return code != 0


def main() -> int:
    pin.pin()
    from mrml.cli.main import main as command
    from mrml.engines.inline import InlineEngine
    from mrml.runs import directory

    directory.CHECKPOINT_S = 0.0  # every State is written
    left = int(sys.argv[1])

    def dying(genuine: Any) -> Any:
        def called(*args: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return genuine(*args)

        return called

    InlineEngine.round = dying(InlineEngine.round)  # type: ignore[method-assign]
    InlineEngine.write = dying(InlineEngine.write)  # type: ignore[method-assign]
    return command(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
