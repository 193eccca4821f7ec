"""Dramatiq middleware around a handler, called only where a middleware overrides the hook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from dramatiq.middleware import Middleware, MiddlewareError, SkipMessage

if TYPE_CHECKING:
    from collections.abc import Callable

    from dramatiq import Broker, MessageProxy


class Hooks:
    """The hooks that somebody uses. Errors that they raise are logged and change no outcome.

    They are logged here, by their class: Dramatiq would log their text, in which there may be anything.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._before = _overriding(broker, "before_process_message")
        self._after = _overriding(broker, "after_process_message")[::-1]
        self._after_skip = _overriding(broker, "after_skip_message")[::-1]

    @classmethod
    def of(cls, broker: Broker) -> Hooks | None:
        """None when no middleware looks at messages: then a job pays nothing for them."""
        hooks = cls(broker)
        return hooks if hooks._before or hooks._after or hooks._after_skip else None

    def around(self, message: MessageProxy, call: Callable[[], Any]) -> None:
        """Run `call` with the hooks around it, as Dramatiq's worker thread does."""
        try:
            self._emit(self._before, message)
            result = call()
        except SkipMessage:
            self._emit(self._after_skip, message)
            raise
        except BaseException as error:
            message.stuff_exception(error)
            self._emit(self._after, message, exception=error)
            message.clear_exception()
            raise
        self._emit(self._after, message, result=result)

    def _emit(self, hooks: list[Callable[..., None]], message: MessageProxy, **how: Any) -> None:
        for hook in hooks:
            try:
                hook(self._broker, message, **how)
            except MiddlewareError:
                if hooks is self._before:
                    raise
            except Exception as error:
                structlog.get_logger().error(
                    "a middleware failed", hook=hook.__qualname__, error_class=type(error).__name__
                )


def _overriding(broker: Broker, hook: str) -> list[Callable[..., None]]:
    """The bound hooks of all middleware that has one of its own."""
    return [getattr(m, hook) for m in broker.middleware if getattr(type(m), hook) is not getattr(Middleware, hook)]
