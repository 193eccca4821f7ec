"""What a handler forks, by `multiprocessing` for one, is no worker, and has none of the worker's connections and locks.

It may outlive a worker that is killed. RabbitMQ would go on sending jobs to a consumer that nobody reads from, Postgres
would keep the locks of transactions that nobody will end, and other supervisors would take the worker for alive. Used
in both processes, a connection would bring the answers of one to the other.
"""

import os
from collections.abc import Callable, Iterable
from typing import NoReturn


def keep_from_forks(files: Callable[[], Iterable[int]]) -> None:
    """Let these file descriptors lead nowhere in whatever this process forks from now on; asked for in the fork.

    Closed they would be free for files of the fork, which what still believes in them would close once more. What the
    fork forks is left alone: the numbers may be those of its own files.
    """
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)  # now: there may be no descriptor left then
    is_fork = False

    def let_go() -> None:
        nonlocal is_fork
        if not is_fork:
            is_fork = True
            for file in [it for it in files() if it >= 0]:
                os.dup2(nowhere, file, inheritable=False)

    os.register_at_fork(after_in_child=let_go)


def end_fork(how: str) -> NoReturn:
    """End this process, which came back from the handler that has forked it: it would run jobs that the worker runs."""
    said = f"a process that a handler had forked came back ({how}), and was ended: let it end by os._exit()\n"
    os.write(2, said.encode())  # no lock of a logger or a file: who held it is not here
    os._exit(1)
