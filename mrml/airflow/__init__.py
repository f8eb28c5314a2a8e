"""mrml in Airflow: a run as a task, and a sensor for the partition it waits for.

::

    from mrml.airflow import MrmlOperator, MrmlPartitionSensor
    MrmlOperator(task_id="churn", file="/srv/churn.yaml", set={"ds": "{{ ds }}"}, mrml="/opt/mrml/bin/mrml")

Airflow's environment needs this package and none of what it computes with (``pip install --no-deps .``): the task
starts the command of another environment, in which mrml is installed whole.
"""

from __future__ import annotations

from mrml.airflow.operator import MrmlOperator
from mrml.airflow.sensor import MrmlPartitionSensor
from mrml.airflow.trigger import MrmlTrigger

__all__ = ["MrmlOperator", "MrmlPartitionSensor", "MrmlTrigger"]
