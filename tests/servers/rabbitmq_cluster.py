"""Three RabbitMQ nodes that belong together, one of which a test may kill or cut off from the others."""

import json
from contextlib import ExitStack
from typing import Self

from tests.servers.rabbitmq import NODE, PrivateRabbitMQ
from tests.waiting import until

NODES = (NODE, "penstock2@localhost", "penstock3@localhost")


class RabbitMQCluster:
    """`with RabbitMQCluster() as cluster:`; starting it takes about half a minute."""

    def __init__(self) -> None:
        first = PrivateRabbitMQ(node=NODES[0], cluster=NODES)
        others = [PrivateRabbitMQ(node=node, cluster=NODES, epmd_port=first.epmd_port) for node in NODES[1:]]
        self.nodes = [first, *others]
        self._opened = ExitStack()

    def running(self) -> list[str]:
        """The nodes that the first one sees at work."""
        status = self.nodes[0].ctl("cluster_status", "--formatter", "json")
        return list(json.loads(status)["running_nodes"])

    def leader_of(self, queue: str) -> PrivateRabbitMQ:
        """The node that leads a quorum queue now, as one of the running nodes tells."""

        def lookup() -> PrivateRabbitMQ | None:
            teller = next(node for node in self.nodes if node.is_running())
            lines = [line.split() for line in teller.ctl("list_queues", "name", "leader").splitlines()]
            name = next((line[1].strip("'") for line in lines if len(line) == 2 and line[0] == queue), "")
            return next((node for node in self.nodes if node.node == name), None)

        found = until(lookup, timeout_seconds=30, what=f"a leader of the queue {queue}")
        assert found is not None
        return found

    def cut_off(self, node: PrivateRabbitMQ) -> None:
        """Its links to the others break and cannot be made again: it does not take their cookie any more."""
        node.ctl(
            "eval", _for_each(self._others(node), "erlang:set_cookie(Node, cut_off), erlang:disconnect_node(Node)")
        )

    def rejoin(self, node: PrivateRabbitMQ) -> None:
        """It takes their cookie again, and the links are made anew."""
        node.ctl("eval", _for_each(self._others(node), "erlang:set_cookie(Node, erlang:get_cookie())"))
        for other in self._others(node):
            until(lambda other=other: other.node in node.ctl("eval", "nodes()."), timeout_seconds=60, what="the link")  # type: ignore[misc]

    def _others(self, node: PrivateRabbitMQ) -> list[PrivateRabbitMQ]:
        return [other for other in self.nodes if other is not node]

    def __enter__(self) -> Self:
        for node in self.nodes:
            self._opened.callback(node.close)
        try:
            for node in self.nodes:
                node.begin_start()
            for node in self.nodes:
                node.await_start()
            until(lambda: len(self.running()) == len(NODES), timeout_seconds=60, what="three nodes")
        except BaseException:
            self._opened.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()


def _for_each(nodes: list[PrivateRabbitMQ], act: str) -> str:
    names = ", ".join(f"'{node.node}'" for node in nodes)
    return f"[begin {act} end || Node <- [{names}]]."
