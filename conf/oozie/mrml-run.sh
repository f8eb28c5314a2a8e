#!/bin/sh
# What the shell action runs: `mrml "$@"`. Oozie tells of a script that fails only that it failed, so this one does not
# fail: exit code, verdict and message are what it prints, and the workflow decides on them.
python=${MRML_PYTHON:-python3}
"$python" -m mrml.tools.oozie.action "$@" && exit 0
code=$?
echo "exit_code=$code"
echo "message=$python -m mrml.tools.oozie.action ended with exit code $code; see the log of the action"
