"""A sender that lets threads send by themselves: that saves a change of thread for each publish.

Only while the I/O thread waits for the network, and only where nothing is before it. What comes back is read by the
I/O thread as ever.
"""

import errno
import os
import time
from typing import Any

from penstock.producers.client.batch import Batch, Outgoing
from penstock.producers.client.sender import Sender
from penstock.producers.client.turns import Turns

_INTERRUPTED = InterruptedError("a thread was interrupted while it published")
_NETWORK_ERRORS = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN)


class DirectSender(Sender):
    """A `Sender` with `send_at_once` beside `post`."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self._turns = Turns(self._ioloop, mend=self._mend, read=self._read)
        # Why it is not known what was sent under which tag.
        self._torn: Exception | None = None

    def send_at_once(self, batch: Batch) -> bool:
        """Send one message from this very thread, where nothing is before it; false where that is for `post` to do.

        Waits for nobody but others who send at once.
        """
        if len(batch.messages) != 1 or not self._may_send_at_once():
            return False
        if self._pid != os.getpid():  # a fork has the parent's socket, too
            return False
        entry = Outgoing(batch, 0, batch.messages[0])
        with self._turns.lock:
            link = self._link
            content = link.content_of(entry.message) if link is not None and self._may_send_at_once() else None
            if link is None or content is None:
                return False
            if not self._unconfirmed:
                self._heard_at = time.monotonic()
            # From here on a signal or a time limit may end this thread at any line.
            self._torn = _INTERRUPTED
            entry.sent = True
            self._unconfirmed.add(link.last_tag + 1, entry)
            self._open.add(batch)
            try:
                is_sent = link.send(entry.message, content)
                self._torn = None
            except OSError as error:
                if not isinstance(error, ConnectionError) and error.errno not in _NETWORK_ERRORS:
                    raise  # not the socket's: a time limit's
                is_sent, self._torn = False, error
        if not is_sent:
            self._ioloop.add_callback_threadsafe(self._start_ticking)  # the loop comes round, and sees to it
        return True

    def _may_send_at_once(self) -> bool:
        return (
            self._turns.are_open
            and self._ready
            and self._ticking
            and not (self._inbox or self._waiting or self._blocked or self._suspects or self._torn)
            and self._close_at is None
            and self._has_room()
        )

    def _loop(self) -> None:
        self._turns.begin()
        try:
            super()._loop()
        finally:
            self._ready = False

    def _read(self, file: int, events: int) -> bool:
        return self._link is not None and self._link.read(file, events)

    def _mend(self) -> bool:
        """Start over with what has no confirm, under the same ids."""
        torn, self._torn = self._torn, None
        if torn is not None:
            self._give_up_link(torn)
        return torn is not None
