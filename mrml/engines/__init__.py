"""Engines run rounds: inline in this process, local over worker processes, streaming as mrjob jobs."""
