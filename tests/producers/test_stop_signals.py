"""SIGTERM stops a process wherever it is just then, and a process that it has forked dies of it as others do."""

import signal
import subprocess
import sys

STOPPED_IN_A_LOCK = """
import signal, threading
from penstock.producers.stop_signals import stop_on_signals

lock, stopped = threading.Lock(), threading.Event()

def request_stop():
    with lock:
        print("asked to stop")
    stopped.set()

stop_on_signals(request_stop, signal.SIGTERM, again_ends=False)
with lock:
    for _ in range(3):
        signal.raise_signal(signal.SIGTERM)
assert stopped.wait(10)
"""

STOPPED_TWICE = """
import signal, threading
from penstock.producers.stop_signals import stop_on_signals

stop_on_signals(lambda: print("asked to stop", flush=True), signal.SIGTERM, signal.SIGINT, again_ends=True)
print("ready", flush=True)
input()
"""

STOPPED_IN_A_FORK = """
import os, signal, threading
from penstock.producers.stop_signals import stop_on_signals

stop_on_signals(lambda: print("asked to stop"), signal.SIGTERM, again_ends=False)
for _ in range(20):
    if (pid := os.fork()) == 0:
        threading.Event().wait(10)
        os._exit(0)
    os.kill(pid, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def printed_by(program: str) -> list[str]:
    """The lines that a program prints until it ends by itself."""
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True, timeout=30)
    return done.stdout.splitlines()


def test_a_signal_waits_for_no_lock_that_the_main_thread_holds() -> None:
    """It is handled there, between two instructions; and asks once, however often it comes."""
    assert printed_by(STOPPED_IN_A_LOCK) == ["asked to stop"]


def test_a_second_signal_ends_at_once_what_is_told_so() -> None:
    """An operator's second Ctrl-C, whatever the first one was."""
    command = [sys.executable, "-c", STOPPED_TWICE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == "asked to stop\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == -signal.SIGINT
        finally:
            process.kill()


def test_a_fork_is_ended_by_it() -> None:
    """`multiprocessing` ends its children so, and waits for them. Also right after the fork."""
    assert printed_by(STOPPED_IN_A_FORK) == [str(-signal.SIGTERM)] * 20
