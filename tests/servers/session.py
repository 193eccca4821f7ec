"""Names for what one test session makes on a shared server, so that a later session can tell what a dead one left."""

import os
import socket
import zlib

HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"
PREFIX = f"penstock_test_{HOST}_"


def name_of(number: int | str) -> str:
    """The name of the thing `number` of this session."""
    return f"{PREFIX}{os.getpid()}_{number}"


def is_leftover(name: str) -> bool:
    """Whether `name` is a thing of a session of this machine that is no more."""
    owner = name.removeprefix(PREFIX).split("_")[0]
    return name.startswith(PREFIX) and owner.isdigit() and not _is_alive(int(owner))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
