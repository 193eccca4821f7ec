"""What a signal or a time limit does to a thread that publishes, at a chosen point."""

import linecache
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Self

WATCHED = ("/penstock/producers/client/", "/pika/")


class Interruption:
    """Raises `error` in this very thread, within `function`, before the `at`-th line there: `with` around the call.

    Lines are those of the client and of pika, but for `with` and `try`: there, tracing would act between the taking of
    a lock and its block, or between that and the release, where the interpreter lets in no signal.
    """

    def __init__(self, function: Callable[..., object], at: int, error: BaseException) -> None:
        self.has_come = False
        self._code: CodeType = function.__code__
        self._at = at
        self._error = error
        self._is_inside = False
        self._lines = 0

    def __enter__(self) -> Self:
        sys.settrace(self._on_call)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)

    def _on_call(self, frame: FrameType, event: str, argument: Any) -> Any:
        self._is_inside = self._is_inside or frame.f_code is self._code
        is_watched = self._is_inside and any(part in frame.f_code.co_filename for part in WATCHED)
        return self._on_line if is_watched else None

    def _on_line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "return" and frame.f_code is self._code:
            self._is_inside = False
        if event == "line" and self._is_inside and not _is_bare(frame):
            self._lines += 1
            if self._lines == self._at:
                self.has_come = True
                raise self._error
        return self._on_line


def _is_bare(frame: FrameType) -> bool:
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
    return line.lstrip().startswith(("with ", "try:"))
