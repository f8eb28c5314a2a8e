"""MrmlPartitionSensor: waits until a partition is there whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mrml.airflow.versions import AirflowException, AirflowFailException, BaseSensorOperator
from mrml.errors import ConfigError, MrmlError
from mrml.fs.find import filesystem


class MrmlPartitionSensor(BaseSensorOperator):  # type: ignore[misc]
    """Waits for ``path/_SUCCESS`` on local disks or on HDFS.

    ``mode="reschedule"`` holds no worker slot between two looks.  HDFS wants a client in Airflow's environment
    (``pip install hdfs-native``) and HADOOP_CONF_DIR where the path names no host.  A NameNode that does not answer
    fails the try: ``retries``, or ``silent_fail=True``, which goes on waiting.

    Parameters
    ----------
    path : the directory of the partition, templated: ``"hdfs:///data/events/ds={{ ds }}"``.
    flag : the file in it that says it is whole, templated; "" waits for the directory itself.
    """

    template_fields: Sequence[str] = ("path", "flag")
    ui_color = "#e4e0ee"

    def __init__(self, *, path: str, flag: str = "_SUCCESS", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.path, self.flag = path, flag

    def poke(self, context: Mapping[str, Any]) -> bool:
        """Whether the flag is there."""
        awaited = f"{self.path.rstrip('/')}/{self.flag}" if self.flag else self.path
        try:
            fs, path = filesystem(awaited)
            found = fs.exists(path)
        except ConfigError as error:
            raise AirflowFailException(str(error)) from error
        except (MrmlError, OSError) as error:
            raise AirflowException(str(error)) from error
        self.log.info("%s %s", awaited, "is there" if found else "is not there yet")
        return found
