"""What calls leave in cycles, for Python's collector to find."""

import gc
from collections.abc import Callable


def garbage_of(call: Callable[[], object], *, times: int) -> int:
    """How many objects it leaves, called so often; some more, if other threads leave some."""
    call()  # what the first call makes may stay
    gc.collect()
    gc.disable()
    try:
        for _ in range(times):
            call()
        return gc.collect()
    finally:
        gc.enable()
