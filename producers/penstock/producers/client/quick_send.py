"""Sending on a socket without letting go of Python's lock.

`socket.send` lets go of it, as it might wait. Where several threads publish, each send is a change of thread then,
which takes longer than the send.
"""

import ctypes
import errno
import os
import socket
import sys

if sys.platform == "linux":
    _FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
    _send = ctypes.PyDLL(None, use_errno=True).send
    _send.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
    _send.restype = ctypes.c_ssize_t

    def quick_send(connected: socket.socket, data: bytes) -> int:
        """How many bytes the socket has taken. Raises `OSError`, as `socket.send` does where that must not wait."""
        while (sent := _send(connected.fileno(), data, len(data), _FLAGS)) < 0:
            number = ctypes.get_errno()
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number))
        return int(sent)

else:

    def quick_send(connected: socket.socket, data: bytes) -> int:
        """How many bytes the socket has taken. Raises `OSError`."""
        return connected.send(data)
