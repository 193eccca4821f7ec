"""Several test processes share servers, and stand aside for a test that measures."""

import fcntl
from pathlib import Path
from threading import Event, Thread

import execnet
import pytest
from tests.servers.discovery import Found
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.side_by_side import Turnstile
from tests.waiting import until


class Visitor:
    """A test in another process: a thread does, as each opens the files anew."""

    def __init__(self, folder: Path, *, alone: bool) -> None:
        self.is_inside, self._may_go = Event(), Event()
        self._thread = Thread(target=self._visit, args=(folder, alone))
        self._thread.start()

    def go(self) -> None:
        self._may_go.set()
        self._thread.join(10)

    def _visit(self, folder: Path, alone: bool) -> None:
        with Turnstile(folder).passed(alone=alone):
            self.is_inside.set()
            self._may_go.wait(10)


def somebody_waits(folder: Path) -> bool:
    """Whether the gate is held, which it is for as long as somebody cannot enter the room."""
    with (folder / "gate").open("a") as gate:
        try:
            fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_who_measures_waits_for_those_inside_and_whoever_comes_later_waits_for_him(tmp_path: Path) -> None:
    """Even where the others never leave the room empty by themselves."""
    first, second = Visitor(tmp_path, alone=False), Visitor(tmp_path, alone=False)
    assert first.is_inside.wait(10)
    assert second.is_inside.wait(10)
    measuring = Visitor(tmp_path, alone=True)
    until(lambda: somebody_waits(tmp_path), what="the one who measures to wait")
    later = Visitor(tmp_path, alone=False)
    first.go()
    assert not measuring.is_inside.is_set()
    second.go()
    assert measuring.is_inside.wait(10)
    assert not later.is_inside.is_set()
    measuring.go()
    assert later.is_inside.wait(10)
    later.go()


@pytest.mark.faults
def test_another_process_can_use_a_server_that_this_one_has_started(private_rabbitmq: PrivateRabbitMQ) -> None:
    """What it is told goes through a pipe as plain values."""
    found = Found(url=private_rabbitmq.url, where="here", rabbitmqctl=private_rabbitmq.rabbitmqctl)
    other = Found.of_another(execnet.loads(execnet.dumps(found.told())))
    assert (other.url, other.where) == (found.url, found.where)
    assert other.rabbitmqctl is not None
    assert other.rabbitmqctl.evaluate("node().") == "penstock@localhost\n"
