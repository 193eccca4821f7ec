"""The crash points of schedules, replies and the outbox, each hit once by real processes."""

import json
import signal
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, func, select
from tests.faults.clockwork import come, keys_of_jobs
from tests.faults.jobs import Transfer
from tests.faults.test_crash_points import Scene, scene, started
from tests.waiting import until
from tests.workers.amqp import channel_on

from penstock.ledger.failpoints import Deed, Failpoint
from penstock.ledger.schedules import find_schedule
from penstock.ledger.tables import replies
from penstock.producers import Producer, Publish
from penstock.producers.outbox import DDL, enqueue_many
from penstock.producers.outbox.address import open_store
from penstock.schemas import read_reply

__all__ = ["scene"]

pytestmark = pytest.mark.faults

IN_SCHEDULER = (Failpoint.TICK_TAKEN, Failpoint.TICK_WRITTEN, Failpoint.TICK_FIRED)
IN_REPLIER = (Failpoint.REPLIES_SELECTED, Failpoint.REPLIES_CONFIRMED, Failpoint.REPLIES_MARKED)
IN_RELAY = (Failpoint.ROWS_TAKEN, Failpoint.ROWS_CONFIRMED, Failpoint.ROWS_DELETED)
DEEDS = (Deed.KILL, Deed.LOSE)
JOBS = 3


@pytest.fixture(scope="module")
def outbox(scene: Scene) -> str:
    """An outbox in the ledger's own database; its URL."""
    engine = create_engine(scene.site.database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(DDL["postgresql"])
    engine.dispose()
    return scene.site.database_url


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("point", IN_SCHEDULER)
def test_a_scheduler_killed_or_cut_off_there_fires_the_tick_once(scene: Scene, point: Failpoint, deed: Deed) -> None:
    """Before the commit there is neither the job nor the next tick, after it there are both."""
    session, name = scene.site.session, f"{point}.{deed}"
    scene.points.arm(point, deed)
    key = come(session, name)
    scene.points.await_reached(point)
    until(lambda: getattr(find_schedule(session, name), "last_tick", None), timeout_seconds=30, what="the tick to fire")
    until(lambda: key in scene.site.effects(), timeout_seconds=30, what="the job of the tick to run")
    assert keys_of_jobs(session, name) == [key]
    assert scene.site.effects().count(key) == 1


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("point", IN_REPLIER)
def test_a_replier_killed_or_cut_off_there_answers_at_least_once(scene: Scene, point: Failpoint, deed: Deed) -> None:
    """What RabbitMQ has and the ledger has not crossed out is said again; nothing is left unsaid."""
    queue = f"penstock.replies.{point}.{deed}"
    owed = select(func.count()).select_from(replies)
    with channel_on(scene.site.broker_url) as channel, Producer(scene.site.broker_url) as producer:
        channel.queue_declare(queue, durable=True)
        scene.points.arm(point, deed)
        asked = producer.publish_many(Publish(Transfer(n=n), reply_to=queue) for n in range(JOBS))
        scene.points.await_reached(point)
        for receipt in asked:
            scene.site.await_end(receipt.job_id, timeout_seconds=30)
        until(
            lambda: scene.site.session.connection.execute(owed).scalar() == 0,
            timeout_seconds=30,
            what="nothing to be owed",
        )
        heard: Counter[tuple[str, str]] = Counter()
        got: Any = channel.basic_get(queue, auto_ack=True)
        while got[0] is not None:
            _, properties, body = got
            reply = read_reply(properties.type, body)
            assert (reply.job_id, reply.duplicate) == (properties.correlation_id, False)
            heard[reply.job_id, properties.type] += 1
            got = channel.basic_get(queue, auto_ack=True)
    wanted = {(it.job_id, f"penstock.{kind}") for it in asked for kind in ("receipt", "result")}
    assert set(heard) == wanted
    assert (heard.total() > len(wanted)) is (point is Failpoint.REPLIES_CONFIRMED)


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("point", IN_RELAY)
def test_a_relay_killed_or_cut_off_there_loses_and_doubles_nothing(
    scene: Scene, outbox: str, tmp_path: Path, point: Failpoint, deed: Deed
) -> None:
    """A row that was confirmed and not deleted is published again under its id, which the claim absorbs."""
    engine = create_engine(outbox)
    with engine.begin() as connection:
        added = enqueue_many(connection, (Transfer(n=n) for n in range(JOBS)))
    engine.dispose()
    scene.points.arm(point, deed)
    words = ["relay", "--database-url", outbox]
    relay = started(scene, tmp_path, *words, broker_url=scene.site.broker_url)
    try:
        assert scene.points.await_reached(point) == relay.pid
        if deed is Deed.KILL:
            assert relay.wait(10) == -signal.SIGKILL
            relay.communicate()
            relay = started(scene, tmp_path, *words, broker_url=scene.site.broker_url)
        with closing(open_store(outbox)) as store:
            until(lambda: store.lag()[:2] == (0, 0), timeout_seconds=30, what="an empty outbox")
    finally:
        relay.kill()
        relay.communicate()
    scene.assert_done_once({job_id: Transfer(n=n) for n, job_id in enumerate(added)})


def test_a_relay_that_can_be_killed_at_its_failpoints_says_so(scene: Scene, outbox: str, tmp_path: Path) -> None:
    """As a pool and a dispatcher do: whoever finds the variable set in production should find it soon."""
    for words in (["relay", "--database-url", outbox], ["dispatch"]):
        process = started(scene, tmp_path, *words, broker_url=scene.site.broker_url)
        try:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            said = next(line for line in lines if line.startswith("{") and json.loads(line)["level"] == "warning")
        finally:
            process.kill()
            process.communicate()
        assert "can be killed at its failpoints" in said
