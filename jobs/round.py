"""One round as a plain mrjob job, for those who schedule jobs themselves.

``python jobs/round.py -r local --task TASK --state STATE SPLITS...`` with the files that the streaming engine stages.
"""

from mrml.engines.streaming_job import RoundJob

if __name__ == "__main__":
    RoundJob.run()
