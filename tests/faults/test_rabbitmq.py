"""RabbitMQ fails while jobs are published and run: F04 to F10."""

from collections.abc import Callable, Iterator

import pytest
from tests.faults.trial import Trial, trial
from tests.servers.databases import Databases
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.waiting import until

from penstock.ledger.migrations import migrate

pytestmark = pytest.mark.faults

Fault = Callable[[PrivateRabbitMQ], None]


@pytest.fixture(scope="module")
def on_rabbitmq(
    tmp_path_factory: pytest.TempPathFactory, databases: Databases, rabbitmq_of_session: PrivateRabbitMQ
) -> Iterator[Trial]:
    """A pool on a RabbitMQ that may be harmed."""
    rabbitmq_of_session.start()
    url = databases.create_migrated(migrate)
    with trial(url, rabbitmq_of_session.url, tmp_path_factory.mktemp("rabbitmq")) as its:
        yield its
    databases.drop(url)
    rabbitmq_of_session.wipe()


def kill(rabbitmq: PrivateRabbitMQ) -> None:
    """What it had confirmed is on disk."""
    rabbitmq.restart()


def stop(rabbitmq: PrivateRabbitMQ) -> None:
    """The node stays, the broker in it is gone for some seconds."""
    rabbitmq.ctl("stop_app")
    rabbitmq.ctl("start_app")


def close_connections(rabbitmq: PrivateRabbitMQ) -> None:
    """All of them, again and again."""
    for _ in range(4):
        rabbitmq.ctl("close_all_connections", "a test")


def memory_alarm(rabbitmq: PrivateRabbitMQ) -> None:
    """Publishers are blocked; consumers are not."""
    rabbitmq.ctl("set_vm_memory_high_watermark", "0.00001")
    until(lambda: "memory" in rabbitmq.ctl("eval", "rabbit_alarm:get_alarms()."), what="the alarm")
    rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")


def disk_alarm(rabbitmq: PrivateRabbitMQ) -> None:
    """The same for want of disk."""
    rabbitmq.ctl("set_disk_free_limit", "10000GB")
    until(lambda: "disk" in rabbitmq.ctl("eval", "rabbit_alarm:get_alarms()."), what="the alarm")
    rabbitmq.ctl("set_disk_free_limit", "50MB")


def delete_queue(rabbitmq: PrivateRabbitMQ) -> None:
    """With all that is in it."""
    rabbitmq.ctl("delete_queue", "faults")


def delete_virtual_host(rabbitmq: PrivateRabbitMQ) -> None:
    """With all that is in it, and made again empty."""
    rabbitmq.wipe()


KEEPS_ITS_MESSAGES = {
    "F04": kill,
    "F05": stop,
    "F06": close_connections,
    "F07": memory_alarm,
    "F08": disk_alarm,
}
LOSES_ITS_MESSAGES = {"F09": delete_queue, "F10": delete_virtual_host}


@pytest.mark.parametrize("case", KEEPS_ITS_MESSAGES)
def test_nothing_confirmed_by_rabbitmq_is_lost_and_nothing_done_twice(
    on_rabbitmq: Trial, rabbitmq_of_session: PrivateRabbitMQ, case: str
) -> None:
    """Publishers wait or publish again under their keys; no attempt is used up."""
    with on_rabbitmq.under_load(case):
        KEEPS_ITS_MESSAGES[case](rabbitmq_of_session)


@pytest.mark.parametrize("case", LOSES_ITS_MESSAGES)
def test_nothing_accepted_by_the_ledger_is_lost_with_the_queues_of_rabbitmq(
    on_rabbitmq: Trial, rabbitmq_of_session: PrivateRabbitMQ, case: str
) -> None:
    """Queues are declared again, and what was on its way through them is dispatched again."""
    with on_rabbitmq.under_load(case, url=on_rabbitmq.site.database_url):
        LOSES_ITS_MESSAGES[case](rabbitmq_of_session)
