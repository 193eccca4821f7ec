"""Dramatiq middleware around a handler, called only where a middleware overrides the hook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dramatiq.middleware import Middleware, SkipMessage

if TYPE_CHECKING:
    from collections.abc import Callable

    from dramatiq import Broker, MessageProxy

_HOOKS = ("before_process_message", "after_process_message", "after_skip_message")


class Hooks:
    """The hooks that somebody uses. Errors that they raise are logged by Dramatiq and change no outcome."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    @classmethod
    def of(cls, broker: Broker) -> Hooks | None:
        """None when no middleware looks at messages: then a job pays nothing for them."""
        used = any(
            getattr(type(m), hook) is not getattr(Middleware, hook) for m in broker.middleware for hook in _HOOKS
        )
        return cls(broker) if used else None

    def around(self, message: MessageProxy, call: Callable[[], Any]) -> None:
        """Run `call` with the hooks around it, as Dramatiq's worker thread does."""
        try:
            self._broker.emit_before("process_message", message)
            result = call()
        except SkipMessage:
            self._broker.emit_after("skip_message", message)
            raise
        except BaseException as error:
            message.stuff_exception(error)
            self._broker.emit_after("process_message", message, exception=error)
            message.clear_exception()
            raise
        self._broker.emit_after("process_message", message, result=result)
