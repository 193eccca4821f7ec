"""Replies while a reply queue is ill."""

from pathlib import Path

import pytest
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.waiting import until
from tests.workers.amqp import channel_on
from tests.workers.site import Site
from tests.workers.test_replies import a_replier, owe, owed

from penstock.workers import replier as module

SILENT, OTHER = "penstock.replies.silent", "penstock.replies.other"
# As it is without a majority of its nodes, or on a node that was killed while it was declared.
SILENCE = (
    f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{SILENT}">>)), Pid = amqqueue:get_pid(Q),'
)


@pytest.mark.faults
def test_a_reply_queue_that_confirms_nothing_holds_up_no_other(
    site_on_private_rabbitmq: Site, private_rabbitmq: PrivateRabbitMQ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And hears what it is owed when it is well again."""
    monkeypatch.setattr(module, "SAY_SECONDS", 1.0)
    site = site_on_private_rabbitmq
    replier = a_replier(site, site.broker_url, tmp_path)
    with channel_on(site.broker_url) as channel:
        channel.queue_declare(SILENT, durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_declare(OTHER, durable=True)

        def heard(queue: str) -> int:
            return int(channel.queue_declare(queue, passive=True).method.message_count or 0)

        private_rabbitmq.ctl("eval", f"{SILENCE} sys:suspend(Pid).")
        owe(site, SILENT, OTHER)
        replier.start()
        try:
            until(lambda: heard(OTHER) == 2, timeout_seconds=30, what="the receipt and the result for the other one")
            owe(site, OTHER)
            until(lambda: heard(OTHER) == 4, what="those of another job")
            until(lambda: owed(site) == 1, what="both to be crossed out")
            assert replier.is_healthy
            private_rabbitmq.ctl("eval", f"{SILENCE} sys:resume(Pid).")
            until(lambda: owed(site) == 0, timeout_seconds=30, what="what is owed to the silent one to be confirmed")
            assert heard(SILENT) >= 2
        finally:
            replier.stop()
