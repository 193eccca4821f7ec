"""What a handler forks, by `multiprocessing` for one, has none of the worker's connections and locks.

It may outlive a worker that is killed. RabbitMQ would go on sending jobs to a consumer that nobody reads from, Postgres
would keep the locks of transactions that nobody will end, and other supervisors would take the worker for alive. Used
in both processes, a connection would bring the answers of one to the other.
"""

import os
from collections.abc import Callable, Iterable


def keep_from_forks(files: Callable[[], Iterable[int]]) -> None:
    """Let these file descriptors lead nowhere in whatever this process forks from now on; asked for in the fork.

    Closed they would be free for files of the fork, which what still believes in them would close once more.
    """

    def let_go() -> None:
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for file in [it for it in files() if it >= 0]:
            os.dup2(nowhere, file, inheritable=False)
        os.close(nowhere)

    os.register_at_fork(after_in_child=let_go)
