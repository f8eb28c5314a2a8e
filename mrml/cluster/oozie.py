"""A server of Oozie 5.2.1 beside the cluster: one JVM with its database (Derby) inside, on loopback.

``oozie/`` in the cluster's folder is its home: ``conf/``, ``lib`` (a link to the fetched jars) and an empty web
application, since Oozie registers its servlets itself and its own ``web.xml`` fetches a DTD from the net.  The database
is ``data/oozie/``.  What jobs need of Oozie lies on HDFS (the *sharelib*), below ``/user/USER/share/lib``.

Intervals are short, so that a coordinator of some seconds is not mostly waiting.  Keys and defaults:
``oozie-default.xml`` of Oozie 5.2.1.
"""

from __future__ import annotations

import getpass
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

from mrml.cluster import ready, settings
from mrml.cluster.launcher import link
from mrml.cluster.settings import HOST, Ports
from mrml.errors import EngineError

SERVER = "org.apache.oozie.server.EmbeddedOozieServer"
_SCHEMA = "org.apache.oozie.tools.OozieDBCLI"
#: folders of the sharelib, and how the jars begin that lie in them; streaming's is Hadoop's own
_SHARED = {"oozie": ("oozie-sharelib-oozie-", "json-simple-"), "mapreduce-streaming": ("oozie-sharelib-streaming-",)}
#: ``bin/oozie``, as in a distribution of Oozie
_CLIENT = """#!/bin/sh
# Written by `mrml cluster up --oozie`; OOZIE_URL says where the server is.
export HADOOP_CLASSPATH='{own}/lib/*'
exec '{home}/bin/hadoop' org.apache.oozie.cli.OozieCLI "$@"
"""
_WEB = '<web-app xmlns="http://java.sun.com/xml/ns/javaee" version="3.0" metadata-complete="true"/>\n'


def home_of(home: Path) -> Path:
    """OOZIE_HOME of a cluster's folder."""
    return home / "oozie"


def url(ports: Ports) -> str:
    """OOZIE_URL."""
    return f"http://{ports.address('oozie')}/oozie"


def write_home(home: Path, ports: Ports, jars: Path) -> None:
    """Everything the server reads before it starts, except its database; the cluster's own settings are there."""
    own = home_of(home)
    web = own / "embedded-oozie-server" / "webapp" / "WEB-INF"
    web.mkdir(parents=True, exist_ok=True)
    (web / "web.xml").write_text(_WEB)
    link(own / "lib", jars)
    (home / "bin" / "oozie").write_text(_CLIENT.format(own=own, home=home))
    (home / "bin" / "oozie").chmod(0o755)
    conf = own / "conf"
    for name in ("hadoop-conf", "action-conf"):
        (conf / name).mkdir(parents=True, exist_ok=True)
    (conf / "oozie-site.xml").write_text(settings.xml(_site(home, ports)))
    (conf / "oozie-log4j.properties").write_text(settings.LOG4J)
    for name in ("core-site.xml", "hdfs-site.xml", "mapred-site.xml"):
        shutil.copy(settings.conf_folder(home) / name, conf / "hadoop-conf" / name)
    tree = ET.parse(settings.conf_folder(home) / "yarn-site.xml")
    for found in tree.getroot():
        if found.findtext("name") == "yarn.application.classpath":  # Oozie's application master finds Hadoop by it
            found.find("value").text = f"{settings.conf_folder(home)},{home}/lib/*"  # type: ignore[union-attr]
    tree.write(conf / "hadoop-conf" / "yarn-site.xml")


def environment(home: Path, ports: Ports) -> dict[str, str]:
    """Variables by which ``bin/hadoop`` starts a class of Oozie."""
    own = home_of(home)
    properties = {
        "oozie.home.dir": own,
        "oozie.config.dir": own / "conf",
        "oozie.data.dir": home / "data" / "oozie",
        "oozie.log.dir": home / "logs",
        "oozie.config.file": "oozie-site.xml",
        "oozie.log4j.file": "oozie-log4j.properties",
        "oozie.log4j.reload": 10,
        "oozie.http.hostname": HOST,
        "oozie.http.port": ports("oozie"),
        "oozie.base.url": url(ports),
        "derby.stream.error.file": home / "logs" / "derby.log",
    }
    return {
        "HADOOP_OPTS": " ".join(f"-D{key}={value}" for key, value in properties.items()),
        "HADOOP_CLASSPATH": f"{own}/embedded-oozie-server:{own}/lib/*",
    }


def make_schema(home: Path, ports: Ports) -> None:
    """The tables of the database, where there are none: 2.5 s."""
    done = home / "data" / "oozie" / "schema.sql"
    if done.exists():
        return
    shutil.rmtree(done.parent, ignore_errors=True)  # one that was interrupted
    done.parent.mkdir(parents=True)
    aside, said = done.with_suffix(".new"), home / "logs" / "oozie-schema.log"
    words = [f"{k}={v}" for k, v in environment(home, ports).items()]
    hadoop = ["env", *words, str(home / "bin/hadoop"), "--config", str(home_of(home) / "conf")]
    with said.open("w") as out:
        command = [*hadoop, _SCHEMA, "create", "-sqlfile", str(aside), "-run"]
        code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out).returncode
    if code or not aside.exists():
        last = (said.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        raise EngineError("oozie", f"its database cannot be made: {last[:300]}", f"see {said}")
    aside.replace(done)


def put_shared(home: Path, ports: Ports) -> None:
    """What launchers and streaming jobs need, 260 kB, onto HDFS; the server takes the newest folder ``lib_TIME``."""
    user = getpass.getuser()
    for name, prefixes in _SHARED.items():
        folder = f"/user/{user}/share/lib/lib_20260101000000/{name}"
        jars = [p for prefix in prefixes for p in (home_of(home) / "lib").glob(f"{prefix}*.jar")]
        jars += (home / "lib").glob("hadoop-streaming-*.jar") if name == "mapreduce-streaming" else []
        for jar in jars:
            if not ready.put(ports, f"{folder}/{jar.name}", user, jar.read_bytes()):
                raise EngineError("oozie", f"{jar.name} cannot be written to {folder} on HDFS", "is a DataNode up?")


def _site(home: Path, ports: Ports) -> settings.Values:
    user = getpass.getuser()
    service = "oozie.service."
    return {
        f"{service}HadoopAccessorService.hadoop.configurations": f"*={home_of(home)}/conf/hadoop-conf",
        f"{service}WorkflowAppService.system.libpath": f"hdfs://{ports.address('namenode')}/user/{user}/share/lib",
        f"{service}ProxyUserService.proxyuser.{user}.hosts": "*",
        f"{service}ProxyUserService.proxyuser.{user}.groups": "*",
        f"{service}AuthorizationService.authorization.enabled": False,
        "oozie.http.hostname": HOST,
        # mail goes to whoever listens there; nobody does unless a test or you start something
        "oozie.email.smtp.host": HOST,
        "oozie.email.smtp.port": ports("mail"),
        # milliseconds; the default is a minute
        f"{service}coord.input.check.requeue.interval": 1000,
        # seconds; the defaults are 30 s to 10 min
        f"{service}CoordMaterializeTriggerService.lookup.interval": 2,
        f"{service}StatusTransitService.statusTransit.interval": 2,
        f"{service}PauseTransitService.PauseTransit.interval": 2,
        f"{service}ActionCheckerService.action.check.interval": 2,
        f"{service}ActionCheckerService.action.check.delay": 3,
        f"{service}RecoveryService.interval": 5,
        f"{service}RecoveryService.wf.actions.older.than": 5,
        # what a server that was killed had to look for is looked for again after so long
        f"{service}RecoveryService.coord.older.than": 5,
        # a coordinator of every minute is for trying things out
        f"{service}coord.check.maximum.frequency": False,
    }
