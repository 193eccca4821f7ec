"""A real SMTP server in a thread, whose answers a test may choose."""

from collections.abc import Callable
from contextlib import suppress
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Self

from aiosmtpd.controller import Controller

Answer = Callable[[], str]


class _OnFreePort(Controller):
    def _trigger_server(self) -> None:
        """It looks itself up by its port, which the system has chosen."""
        self.port = port_of(self)
        super()._trigger_server()  # type: ignore[no-untyped-call]


def port_of(controller: Controller) -> int:
    server = controller.server
    assert server is not None
    return int(server.sockets[0].getsockname()[1])  # type: ignore[attr-defined]


class Mailbox:
    """Keeps what it was sent, also what it then refused or never answered for.

    `on_recipient` and `on_data` are the answers to come, one for each time; afterwards everything is accepted.
    """

    def __init__(self, **options: Any) -> None:
        self.mails: list[EmailMessage] = []
        self.on_recipient: list[Answer] = []
        self.on_data: list[Answer] = []
        self._controller = _OnFreePort(self, hostname="127.0.0.1", port=0, **options)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    @property
    def port(self) -> int:
        return port_of(self._controller)

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def message_ids(self) -> list[str]:
        return [str(mail["Message-ID"]) for mail in self.mails]

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802 - aiosmtpd's name
        answer = self.on_recipient.pop(0)() if self.on_recipient else "250 OK"
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        if not self.on_data:
            return "250 2.0.0 taken"
        answer = self.on_data.pop(0)()
        if not answer:
            with suppress(OSError):
                server.transport.abort()
        return answer


def saying(answer: str) -> Answer:
    """An answer of the server; an empty one hangs up instead."""
    return lambda: answer


hanging_up = saying("")
