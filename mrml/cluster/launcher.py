"""``bin/hadoop``, ``hdfs``, ``yarn`` and ``mapred``: one script that starts the Java class of a subcommand.

The names are those of Hadoop's own scripts (``src/main/bin`` of its modules), as far as they start one class.
"""

from __future__ import annotations

import os
from pathlib import Path

#: what Hadoop's shell functions pass to Java 17 and newer (HADOOP-19310)
_OPENED = (
    "java.io java.lang java.lang.reflect java.math java.net java.text java.util java.util.concurrent java.util.zip "
    "sun.security.util sun.security.x509"
)
#: a serial collector and the first compiler only: these processes are small and short, on few cores
JAVA_FLAGS = " ".join(
    (
        "-XX:+IgnoreUnrecognizedVMOptions -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto",
        "-Djava.net.preferIPv4Stack=true",
        *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED.split()),
    )
)
NAMES = ("hadoop", "hdfs", "yarn", "mapred")

_SCRIPT = r"""#!/bin/sh
# Written by `mrml cluster up`: what bin/hadoop, bin/hdfs, bin/yarn and bin/mapred are in a Hadoop distribution.
HOME_OF_IT=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
tool=${0##*/}
if [ "$1" = --config ]; then HADOOP_CONF_DIR=$2; shift 2; fi
export HADOOP_CONF_DIR="${HADOOP_CONF_DIR:-$HOME_OF_IT/conf}" HADOOP_HOME="$HOME_OF_IT"
export JAVA_HOME='@JAVA_HOME@'
if [ $# = 0 ]; then echo "usage: $tool [--config DIR] COMMAND [arguments]" >&2; exit 1; fi
sub=$1; shift
case $tool:$sub in
  *:classpath) echo "$HADOOP_CONF_DIR:$HOME_OF_IT/lib/*"; exit;;
  *:version) class=util.VersionInfo;;
  hadoop:fs|*:dfs) class=fs.FsShell;;
  *:jar) class=util.RunJar;;
  *:conftest) class=util.ConfTest;;
  *:namenode) class=hdfs.server.namenode.NameNode;;
  *:datanode) class=hdfs.server.datanode.DataNode;;
  *:dfsadmin) class=hdfs.tools.DFSAdmin;;
  *:fsck) class=hdfs.tools.DFSck;;
  *:getconf) class=hdfs.tools.GetConf;;
  *:resourcemanager) class=yarn.server.resourcemanager.ResourceManager;;
  *:nodemanager) class=yarn.server.nodemanager.NodeManager;;
  *:app|*:application|*:applicationattempt|*:container) class=yarn.client.cli.ApplicationCLI; set -- "$sub" "$@";;
  *:node) class=yarn.client.cli.NodeCLI;;
  *:logs) class=yarn.client.cli.LogsCLI;;
  yarn:queue) class=yarn.client.cli.QueueCLI;;
  *:rmadmin) class=yarn.client.cli.RMAdminCLI;;
  *:historyserver) class=mapreduce.v2.hs.JobHistoryServer;;
  mapred:queue) class=mapred.JobQueueClient;;
  *:job) class=mapred.JobClient;;
  *:streaming) class=streaming.HadoopStreaming;;
  *:*.*) class=;;
  *) echo "$tool: unknown command '$sub'" >&2; exit 1;;
esac
options=$HADOOP_OPTS more=$HADOOP_CLASSPATH
unset HADOOP_OPTS HADOOP_CLASSPATH  # a command that this one starts would take them too
exec "$JAVA_HOME/bin/java" @FLAGS@ $options -cp "$HADOOP_CONF_DIR:$HOME_OF_IT/lib/*${more:+:$more}" \
  "${class:+org.apache.hadoop.}${class:-$sub}" "$@"
"""


def write_launchers(home: Path, java: Path, jars: Path) -> None:
    """Make ``home`` a HADOOP_HOME: ``bin/``, ``lib`` and the streaming jar where mrjob and people look for it."""
    script = _SCRIPT.replace("@JAVA_HOME@", str(java.parents[1])).replace("@FLAGS@", JAVA_FLAGS)
    (home / "bin").mkdir(exist_ok=True)
    for name in NAMES:
        aside = home / "bin" / f".{name}"
        aside.write_text(script)
        aside.chmod(0o755)
        aside.rename(home / "bin" / name)
    link(home / "lib", jars)
    tools = home / "share" / "hadoop" / "tools" / "lib"
    tools.mkdir(parents=True, exist_ok=True)
    for jar in jars.glob("hadoop-streaming-*.jar"):
        link(tools / jar.name, jar)


def link(path: Path, target: Path) -> None:
    """Make ``path`` a link to ``target``, whatever link it was."""
    if not path.is_symlink() or os.readlink(path) != str(target):
        path.unlink(missing_ok=True)
        path.symlink_to(target)
