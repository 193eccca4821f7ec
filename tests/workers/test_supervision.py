"""The supervisor: deadlines, replacements, and children that die in odd ways."""

import os
import socket
import time
from types import SimpleNamespace

import pytest
from tests.waiting import until
from tests.workers import jobs
from tests.workers.pool import is_alive
from tests.workers.site import Site

from penstock.workers.board import DISPATCHER, LANE, WORKER, Running
from penstock.workers.process import WorkerProcess
from penstock.workers.supervisor import Supervisor

FAST = {"supervisor.FROZEN_SECONDS": 1.0}


def test_an_overrun_in_c_is_settled_at_its_deadline_and_its_process_replaced(own_small_site: Site) -> None:
    """The job runs again elsewhere; a neighbour in the old process finishes there, once."""
    site = own_small_site
    with site.pool() as pool:
        neighbour = site.publish(jobs.Gated(name="neighbour")).job_id
        site.sink.await_events("started", job=neighbour)
        row = site.run(jobs.Overrun(how="without the interpreter"))
        first, second = site.sink.events("started", job=row["id"])
        assert (row["state"], row["attempts"]) == ("completed", 2)
        assert [attempt["kind"] for attempt in row["history"]] == ["timeout"]
        assert first["pid"] != second["pid"]
        assert is_alive(first["pid"])
        site.sink.open_gate("neighbour")
        assert site.await_end(neighbour)["attempts"] == 1
        until(lambda: not is_alive(first["pid"]), what="the old process to end")
        assert len(site.sink.events("started", job=neighbour)) == 1
        assert pool.logged("killing a retired process", handed_back=0)


def test_an_overrun_that_holds_the_interpreter_is_killed_and_its_neighbours_blamed_for_nothing(
    own_small_site: Site,
) -> None:
    """Nothing in that process can go on or say so: whoever ran beside it runs again, without an attempt."""
    site = own_small_site
    with site.pool(constants=FAST):
        neighbour = site.publish(jobs.Gated(name="neighbour")).job_id
        site.sink.await_events("started", job=neighbour)
        row = site.run(jobs.Overrun(how="with the interpreter"))
        assert (row["state"], row["attempts"]) == ("completed", 2)
        [frozen] = site.sink.events("started", job=row["id"], attempt=1)
        until(lambda: not is_alive(frozen["pid"]), what="the frozen process to be killed")
        site.sink.open_gate("neighbour")
        site.sink.await_events("started", job=neighbour, count=2)
        ended = site.await_end(neighbour)
        assert (ended["state"], ended["attempts"], ended["history"]) == ("completed", 1, [])


def test_overruns_use_up_attempts_until_the_job_is_dead(own_small_site: Site) -> None:
    """The bound holds, whoever settles."""
    site = own_small_site
    with site.pool(constants=FAST):
        row = site.run(jobs.Overrun(how="without the interpreter", always=True))
        assert (row["state"], row["reason"], row["attempts"]) == ("dead", "attempts", 2)
        assert [attempt["kind"] for attempt in row["history"]] == ["timeout", "timeout"]


def test_a_retry_policy_that_fails_in_the_supervisor_ends_nothing(own_small_site: Site) -> None:
    """The supervisor asks it when a deadline has passed."""
    site = own_small_site
    with site.pool() as pool:
        row = site.run(jobs.OverrunWithoutPolicy())
        assert (row["state"], row["attempts"]) == ("completed", 2)
        assert pool.is_running


def test_a_stop_does_not_wait_for_a_thread_that_is_lost(own_small_site: Site) -> None:
    """A process with nothing in it but an overrun job is killed, not given the grace."""
    site = own_small_site
    with site.pool(grace_seconds=30) as pool:
        job_id = site.publish(jobs.Overrun(how="without the interpreter")).job_id
        site.sink.await_events("ran", job=job_id)
        assert pool.stop(timeout_seconds=15) == 0


def test_a_death_by_a_signal_without_a_name_is_a_death_like_any_other(own_small_site: Site) -> None:
    """Real-time signals have numbers only."""
    site = own_small_site
    with site.pool() as pool:
        [before] = pool.workers()
        os.kill(before, 40)
        pool.await_log("process died", how="signal 40")
        until(lambda: pool.workers() not in ([], [before]), what="a replacement")
        assert site.run(jobs.Note(name="after"))["state"] == "completed"


def test_a_monitor_that_cannot_listen_holds_up_no_worker(own_small_site: Site) -> None:
    """Its port is taken; workers that die are replaced at once all the same."""
    site = own_small_site
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with site.pool(metrics_port=taken.getsockname()[1]) as pool:
            until(lambda: len(pool.logged("process died", slot="monitor-0")) >= 6, timeout_seconds=30, what="failures")
            [before] = pool.workers()
            os.kill(before, 9)
            # The monitor is not tried again for 6.4 s now.
            until(lambda: pool.workers() not in ([], [before]), timeout_seconds=5, what="a replacement")


def test_what_handlers_print_is_not_lost_at_the_end_of_a_process(own_small_site: Site) -> None:
    """Also when stdout is a file, and so is written in blocks; and nothing is written twice."""
    site = own_small_site
    with site.pool() as pool:
        row = site.run(jobs.Printing())
        assert pool.stop() == 0
        assert pool.log_text().count(f"printed by {row['id']}") == 1


@pytest.mark.parametrize(
    ("held", "running", "drained"),
    [
        ([], {}, True),
        (["late"], {"late": -1.0}, True),
        (["late", "other"], {"late": -1.0, "other": 60.0}, False),
        (["late", "unsettled"], {"late": -1.0}, False),
    ],
    ids=["nothing", "only the overrun job", "a neighbour runs", "an outcome waits for the ledger"],
)
def test_a_retiring_process_is_drained_when_nothing_else_would_be_lost(
    held: list[str], running: dict[str, float], drained: bool
) -> None:
    """An outcome that is not settled yet would otherwise be lost with the process, and its job run twice."""
    now = time.monotonic()
    board = {index: Running(name, 1, now + left, now) for index, (name, left) in enumerate(running.items())}
    process = SimpleNamespace(page=SimpleNamespace(running=lambda: board), holding=SimpleNamespace(claims=held))
    assert WorkerProcess._is_drained(process) is drained  # type: ignore[arg-type]


def test_no_two_living_children_share_a_slot() -> None:
    """They would overwrite each other's figures; also a lane that is being retired beside the next one."""
    slots = [SimpleNamespace(slot=slot) for slot in ("lane-0", "worker-0", "worker-2")]
    supervisor = SimpleNamespace(_children=dict(enumerate(slots)))
    free = [Supervisor._free_slot(supervisor, kind) for kind in (LANE, WORKER, DISPATCHER)]  # type: ignore[arg-type]
    assert free == ["lane-1", "worker-1", "dispatcher-0"]
