"""The files that configure a cluster, and its ports."""

from __future__ import annotations

import socket
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from mrml.cluster import settings
from mrml.cluster.settings import Ports, choose_ports, is_free, write_conf
from mrml.errors import ConfigError

FILES = ("core-site.xml", "hdfs-site.xml", "yarn-site.xml", "mapred-site.xml")


def read(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in FILES:
        for item in ET.parse(folder / name).getroot():
            key, value = (item.findtext(k) for k in ("name", "value"))
            assert key and value is not None and found.setdefault(key, value) == value
    return found


def test_no_two_daemons_share_a_port() -> None:
    every = Ports(20000).every(9)
    assert len(set(every)) == len(every) and max(every) < 20000 + settings._STEP


def test_a_folder_gets_the_same_ports_again_and_another_folder_others(tmp_path: Path) -> None:
    first = choose_ports(tmp_path / "a", 2)
    assert choose_ports(tmp_path / "a", 2) == first != choose_ports(tmp_path / "b", 2)


def test_a_range_with_a_taken_port_is_passed_over_and_refused_by_name(tmp_path: Path) -> None:
    ports = choose_ports(tmp_path, 2)
    with socket.create_server((settings.HOST, ports("shuffle", 2))) as server:
        assert not is_free(server.getsockname()[1])
        assert choose_ports(tmp_path, 1) == ports  # a port of a node that it has not
        assert choose_ports(tmp_path, 2) != ports
        with pytest.raises(ConfigError, match=rf"port {ports('shuffle', 2)} on 127.0.0.1 is taken"):
            choose_ports(tmp_path, 2, ports.base)


def test_everything_listens_on_loopback_and_on_its_own_ports(tmp_path: Path) -> None:
    write_conf(tmp_path, 2, Ports(20000), {})
    seen = set()
    for node in (1, 2):
        values = read(settings.conf_folder(tmp_path, node))
        own = {v for k, v in values.items() if k.endswith("address") and "node" in k and "namenode" not in k}
        assert len(own) == 6 and all(v.startswith("127.0.0.1:") for v in own)
        own |= {values["mapreduce.shuffle.port"], values["dfs.datanode.data.dir"]}
        own.add(values["yarn.nodemanager.local-dirs"])
        assert not own & seen
        seen |= own


def test_a_property_of_the_users_wins_in_every_file(tmp_path: Path) -> None:
    write_conf(tmp_path, 1, Ports(20000), {"dfs.replication": 1, "x": "<a> & b"})
    for folder in (settings.conf_folder(tmp_path, n) for n in (0, 1)):
        values = read(folder)
        assert values["dfs.replication"] == "1" and values["x"] == "<a> & b"


def test_blocks_of_hdfs_are_whole_windows_of_text(tmp_path: Path) -> None:
    write_conf(tmp_path, 1, Ports(20000), {})
    assert int(read(tmp_path / "conf")["dfs.blocksize"]) % (4 << 20) == 0
