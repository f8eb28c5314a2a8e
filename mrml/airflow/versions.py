"""What mrml.airflow takes from Airflow, under the names of Airflow 3 and of 2.10 and later."""

from __future__ import annotations

try:
    from airflow.triggers.base import BaseTrigger, TriggerEvent
except ImportError as error:
    remedy = "pip install apache-airflow, in the environment that imports it"
    raise ImportError(f"mrml.airflow needs Apache Airflow, 2.10 or later: {remedy}") from error

try:
    from airflow.sdk import BaseOperator, BaseSensorOperator
    from airflow.sdk.configuration import conf
    from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
except ImportError:  # Airflow 2
    from airflow.configuration import conf
    from airflow.exceptions import AirflowException, AirflowFailException, AirflowSkipException
    from airflow.models.baseoperator import BaseOperator
    from airflow.sensors.base import BaseSensorOperator

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowSkipException",
    "BaseOperator",
    "BaseSensorOperator",
    "BaseTrigger",
    "TriggerEvent",
    "conf",
]
