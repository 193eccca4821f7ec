"""Sending without waiting and without letting go of Python's lock."""

import socket
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from penstock.producers.client.quick_send import quick_send

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends of a connection; both would wait, by themselves."""
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def test_what_is_sent_arrives(pair: Pair) -> None:
    here, there = pair
    assert quick_send(here, b"\0one\0two") == 8
    assert there.recv(100) == b"\0one\0two"


def test_a_full_socket_takes_a_part_and_then_says_so(pair: Pair) -> None:
    data = bytes(10_000_000)
    assert 0 < quick_send(pair[0], data) < len(data)
    with pytest.raises(BlockingIOError):
        quick_send(pair[0], data)


def test_nobody_at_the_other_end_is_an_error_and_no_signal(pair: Pair) -> None:
    here, there = pair
    there.close()
    with pytest.raises(BrokenPipeError):
        quick_send(here, b"one")


def test_a_closed_socket_is_an_error(pair: Pair) -> None:
    pair[0].close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        quick_send(pair[0], b"one")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is Python's own")
def test_no_other_thread_comes_in_between(pair: Pair) -> None:
    """One that waits for Python's lock gets it when we let go of it, and not before."""
    here, there = pair
    there.setblocking(False)
    here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)

    assert not other_thread_comes(lambda: quick_send(here, b"1"), times=500)
    assert other_thread_comes(lambda: here.send(there.recv(1)), times=10_000_000)


def other_thread_comes(call: Callable[[], object], *, times: int) -> bool:
    """Whether another thread that is told to begin now does so while we call this so many times at most."""
    came: list[bool] = []
    begin = threading.Event()
    other = threading.Thread(target=lambda: came.append(begin.wait()))
    usual = sys.getswitchinterval()
    sys.setswitchinterval(30)  # first: a thread that waits for the lock would ask for it after the usual one
    try:
        other.start()
        begin.set()
        for _ in range(times):
            call()
            if came:
                return True
        return False
    finally:
        sys.setswitchinterval(usual)
        other.join()
