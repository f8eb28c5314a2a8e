"""Every night: wait for the day's rows, then train, evaluate, gate, promote and predict by `mrml run`.

Copy it into Airflow's folder of DAGs; docs/airflow.md says what must be installed where.  Airflow's Variables
mrml_command, mrml_file and mrml_root say where things are; without them the defaults below hold.
"""

from __future__ import annotations

import datetime

from mrml.airflow import MrmlOperator, MrmlPartitionSensor

try:
    from airflow.sdk import DAG, CronDataIntervalTimetable
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.timetables.interval import CronDataIntervalTimetable

COMMAND = "{{ var.value.get('mrml_command', '/opt/mrml/bin/mrml') }}"
FILE = "{{ var.value.get('mrml_file', '/srv/mrml/conf/nightly/churn.yaml') }}"
ROOT = "{{ var.value.get('mrml_root', 'hdfs:///data/churn') }}"

with DAG(
    "mrml_nightly",
    # At 01:00 for the day that is over: {{ ds }} is the day before, in Airflow 2 and 3 alike.  "@daily" would be
    # the day that begins in Airflow 3, and the one that is over in Airflow 2.
    schedule=CronDataIntervalTimetable("0 1 * * *", timezone="UTC"),
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
    # After an outage only the latest night runs.  True runs each one since start_date that has not run, oldest first:
    # for whoever needs the scores of every day.  One night alone: `airflow backfill create` (Airflow 3), or
    # `airflow dags backfill` (2); each is `mrml run` with its own ds, and one that is done is kept.
    catchup=False,
    # a gate compares with what the night before put into service
    max_active_runs=1,
) as dag:
    rows = MrmlPartitionSensor(
        task_id="rows",
        path=ROOT + "/rows/ds={{ ds }}",
        mode="reschedule",  # no worker slot between two looks
        poke_interval=300,
        timeout=20 * 3600,
    )
    churn = MrmlOperator(
        task_id="churn",
        file=FILE,
        set={"ds": "{{ ds }}", "root": ROOT},
        mrml=COMMAND,
        refused="fail",  # a refused model fails the night, and somebody looks; scores come from the one in service
        retries=3,  # of what an engine or a machine does; errors in configuration or data are final at once
        retry_delay=datetime.timedelta(minutes=5),
    )
    rows >> churn
