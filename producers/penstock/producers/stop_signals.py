"""How a process that runs for long is told to stop."""

import os
import signal
import threading
from collections.abc import Callable, Collection
from queue import SimpleQueue


def stop_on_signals(request_stop: Callable[[], None], *numbers: signal.Signals, again_ends: bool) -> None:
    """Call `request_stop` when one of these signals comes first, on a thread of its own.

    Where `again_ends`, the next one does what it does by default; otherwise it is passed over, as a whole group of
    processes is told by whoever stops the service, and each of them by its supervisor once more.

    A child that the process forks without `exec`, as `multiprocessing` does, is ended by them as if this were not here.
    """
    received: SimpleQueue[int] = SimpleQueue()

    def receive(number: int, _: object) -> None:
        # Python calls this on the main thread between any two instructions there. A lock that this took (and setting
        # a `threading.Event` takes one) could be held right there, for ever; `put` is made to be interrupted by itself.
        received.put(number)
        if again_ends:
            _leave_to_default(numbers)

    def pass_on() -> None:
        received.get()
        request_stop()

    threading.Thread(target=pass_on, name="stop signals", daemon=True).start()
    for number in numbers:
        signal.signal(number, receive)
    _spare_forks(numbers)


def _leave_to_default(numbers: Collection[signal.Signals]) -> None:
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)


def _spare_forks(numbers: Collection[signal.Signals]) -> None:
    """Python would lose a signal that comes right after the fork, while the handler is still ours: it waits so long.

    What the fork forks is left alone: it may have handlers and a mask of its own.
    """
    masks = threading.local()
    is_fork = False

    def hold() -> None:
        if not is_fork:
            masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)

    def let_go() -> None:
        if not is_fork:
            signal.pthread_sigmask(signal.SIG_SETMASK, masks.before)

    def let_go_in_child() -> None:
        nonlocal is_fork
        if not is_fork:
            is_fork = True
            _leave_to_default(numbers)
            signal.pthread_sigmask(signal.SIG_SETMASK, masks.before)

    os.register_at_fork(before=hold, after_in_parent=let_go, after_in_child=let_go_in_child)
