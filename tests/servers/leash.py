"""Server processes that die with the test run, also when it is killed."""

import atexit
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class Leashed:
    """One server process in a session of its own, its output in a log file.

    Its end comes with whichever is first: `stop`, the normal end of this Python, or the death of this Python: with
    util-linux's `setpriv` the kernel sends the process a signal when its parent is gone.
    """

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        folder: Path,
        log: Path,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        signal_at_parent_death: signal.Signals = signal.SIGKILL,
    ) -> None:
        """`user` is who the process runs as, None for whoever we are."""
        self._log = log
        with log.open("ab") as output:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [*tied_to_parent(signal_at_parent_death), *map(str, arguments)],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
                group=group_of(user),
                extra_groups=no_groups(user),
            )
        atexit.register(self._kill_group)

    @property
    def pid(self) -> int:
        """The server's own process id: nothing stands between."""
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    def stop(self, signal_: signal.Signals, *, timeout_seconds: float = 20.0) -> None:
        """Send `signal_`, wait for the end, and kill what is left of the session after `timeout_seconds`."""
        if self.is_running():
            self._process.send_signal(signal_)
            try:
                self._process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                self._kill_group()
        self._kill_group()
        self._process.wait()
        atexit.unregister(self._kill_group)

    def last_words(self) -> str:
        """The end of the log, for the message of an error."""
        return self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""

    def _kill_group(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return


def tied_to_parent(signal_: signal.Signals) -> list[str]:
    """The words before a command that make the kernel send it `signal_` when its parent dies; none without setpriv."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", signal_.name.removeprefix("SIG")] if setpriv else []


def group_of(user: str | None) -> int | None:
    """The first group of `user`; None, which leaves ours, for None."""
    return None if user is None else pwd.getpwnam(user).pw_gid


def no_groups(user: str | None) -> list[str] | None:
    """The further groups of a process that runs as `user`: none; ours for None."""
    return None if user is None else []
