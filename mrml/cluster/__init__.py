"""A Hadoop of one's own on one machine, to try things on before they are submitted, and for the tests."""

from mrml.cluster.cluster import Cluster
from mrml.cluster.nodes import Daemon, Node
from mrml.cluster.processes import Container

__all__ = ["Cluster", "Container", "Daemon", "Node"]
