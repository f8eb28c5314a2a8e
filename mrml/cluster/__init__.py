"""A Hadoop cluster on this machine, for development and for the tests."""

from mrml.cluster.cluster import Cluster
from mrml.cluster.nodes import Daemon, Node
from mrml.cluster.processes import Container

__all__ = ["Cluster", "Container", "Daemon", "Node"]
