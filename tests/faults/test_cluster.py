"""Three RabbitMQ nodes, one of which dies or is cut off, and it is the one that matters."""

from collections.abc import Iterator

import pytest
from tests.faults.trial import Trial, trial
from tests.servers.databases import Databases
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq_cluster import RabbitMQCluster
from tests.waiting import until

from penstock.ledger.migrations import migrate

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def cluster() -> Iterator[RabbitMQCluster]:
    """Three nodes."""
    with RabbitMQCluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def balancer(cluster: RabbitMQCluster) -> Iterator[Proxy]:
    """Where clients connect: it leads to the first node that answers."""
    with Proxy(cluster.nodes[0].url) as proxy:
        proxy.upstreams = [node.address for node in cluster.nodes]
        yield proxy


@pytest.fixture(scope="module")
def on_cluster(tmp_path_factory: pytest.TempPathFactory, databases: Databases, balancer: Proxy) -> Iterator[Trial]:
    """A pool that reaches the cluster through the balancer."""
    url = databases.create_migrated(migrate)
    with trial(url, balancer.url, tmp_path_factory.mktemp("cluster")) as its:
        yield its
    databases.drop(url)


def test_nothing_confirmed_is_lost_when_the_leader_of_the_queue_is_killed(
    on_cluster: Trial, cluster: RabbitMQCluster, balancer: Proxy
) -> None:
    """A publisher takes a NACK for "again", and whoever was connected there finds another node."""
    leader = cluster.leader_of("faults")
    _lead_to(balancer, cluster, leader)
    with on_cluster.under_load("leader killed"):
        leader.kill()
        until(lambda: cluster.leader_of("faults") is not leader, timeout_seconds=30, what="another leader")
        leader.start()


def test_nothing_confirmed_is_lost_when_the_leader_of_the_queue_is_cut_off(
    on_cluster: Trial, cluster: RabbitMQCluster, balancer: Proxy
) -> None:
    """In the minority it pauses; the two others go on without it, and it comes back by itself."""
    leader = cluster.leader_of("faults")
    _lead_to(balancer, cluster, leader)
    with on_cluster.under_load("leader cut off"):
        cluster.cut_off(leader)
        others = [node for node in cluster.nodes if node is not leader]
        until(lambda: leader.node not in others[0].ctl("eval", "nodes()."), timeout_seconds=30, what="the partition")
        cluster.rejoin(leader)


def _lead_to(balancer: Proxy, cluster: RabbitMQCluster, first: object) -> None:
    """Everybody is connected to the node that will fail."""
    balancer.upstreams = [node.address for node in sorted(cluster.nodes, key=lambda node: node is not first)]
    balancer.drop()
