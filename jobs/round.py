"""One round as a plain mrjob job, for those who schedule jobs themselves.

``python jobs/round.py -r hadoop --no-bootstrap-mrjob --task TASK --state STATE SPLITS`` prints the value of every key.
TASK is what a run stages on HDFS (``task-...`` in its folder, while it goes on), STATE a checkpoint
(``OUTPUT/_run/checkpoint/000003.state``), SPLITS a file with a number of a split on each line; mrml must be importable
by the nodes' Python (``--python-bin``).
"""

from mrml.engines.streaming.job import RoundJob

if __name__ == "__main__":
    RoundJob.run()
