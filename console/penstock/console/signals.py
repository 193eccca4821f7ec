"""How a process that runs for long is told to stop."""

import signal
from collections.abc import Callable


def stop_on_signals(request_stop: Callable[[], None]) -> None:
    """The first SIGTERM or Ctrl-C stops in order; a second one does what it does by default."""

    def stop(*_: object) -> None:
        request_stop()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
