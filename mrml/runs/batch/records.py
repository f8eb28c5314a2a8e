"""What a run of steps has done: a file for each step, put in place when the step is over."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from mrml import logs
from mrml.fs.folder import Folder

#: the record of a run's beginning: its file, its command, its steps
BEGUN = "begun"
#: what MLflow was told, and where
TOLD = "mlflow"
#: what lies in the directory of a run of steps
FOLDER, MODEL = "steps", "model"


class Records:
    """``RUN/steps``: JSON by the name of a step."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def get(self, name: str) -> dict[str, Any] | None:
        """What is recorded of a step; None where it was not done, or who did it was killed."""
        if not self.folder.exists(f"{name}.json"):
            return None
        return self.folder.read_json(f"{name}.json")

    def put(self, name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Record a step; the facts as they are read again."""
        content = json.dumps(logs.plain(facts), indent=1, default=str)
        self.folder.write(f"{name}.json", content.encode(), sync=True)
        found: dict[str, Any] = json.loads(content)
        return found

    def forget(self, names: Iterable[str]) -> None:
        """Steps that are to be done again."""
        for name in names:
            self.folder.remove(f"{name}.json")
