"""Where RabbitMQ is, read from a URL, with the settings that make a lost broker noticed."""

import socket
import ssl
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import pika
import pika.exceptions

from penstock.schemas.version import __version__

# An option in the query of the URL (`?heartbeat=60`) goes before these.
_DEFAULTS = {"heartbeat": 30, "blocked_connection_timeout": 20, "socket_timeout": 5, "stack_timeout": 10}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One broker. `str()` of it names host, port and virtual host, never the password."""

    parameters: pika.URLParameters

    @classmethod
    def read(cls, url: str, *, name: str) -> "Endpoint":
        """Read `amqp://` or, for TLS, `amqps://`; `name` is what operators see in RabbitMQ.

        Raises `ValueError` without the URL in it.
        """
        try:
            if urlsplit(url).scheme not in ("amqp", "amqps"):
                raise ValueError(url)  # noqa: TRY301 - all that is wrong with a URL gets one answer
            parameters = pika.URLParameters(url)
            given = parse_qs(urlsplit(url).query)
        except (ValueError, TypeError, AttributeError, SyntaxError, OSError):
            # What these say may hold a part of the password.
            raise ValueError(
                "this is not an AMQP URL: write amqp://user:password@host:5672/vhost (amqps:// for TLS), "
                "with characters like '/' and '@' in user, password and vhost written as %2F and %40"
            ) from None
        for option, value in _DEFAULTS.items():
            if option not in given:
                setattr(parameters, option, value)
        if "client_properties" not in given:
            parameters.client_properties = {
                "product": "penstock",
                "version": __version__,
                "connection_name": f"{name}@{socket.gethostname()}",
            }
        return cls(parameters)

    def __str__(self) -> str:
        return f"{self.parameters.host}:{self.parameters.port} (virtual host {self.parameters.virtual_host!r})"

    @property
    def user(self) -> str:
        return str(getattr(self.parameters.credentials, "username", "from the certificate"))

    def refusal(self, error: BaseException) -> str | None:
        """What is wrong and the remedy, where RabbitMQ has said no; None for faults that pass.

        pika deduces "probable" authentication errors also from a connection that merely broke off in the
        handshake, as it does when a broker is killed; only a reason that the broker gave counts.
        """
        text = repr(error)
        if isinstance(error, pika.exceptions.AuthenticationError):
            return "it offers no login mechanism that this client has: allow PLAIN on the broker"
        if isinstance(error, pika.exceptions.ProbableAuthenticationError) and "ConnectionClosedByBroker" in text:
            return f"it refuses the login of user {self.user!r}: check user and password in the URL"
        if isinstance(error, pika.exceptions.ProbableAccessDeniedError):
            vhost = self.parameters.virtual_host
            if "(530)" in text or "(403)" in text:
                return (
                    f"it refuses user {self.user!r} the virtual host {vhost!r}: "
                    f"create it (rabbitmqctl add_vhost) and give the user permissions on it"
                )
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes(error)):
            return "its TLS certificate cannot be verified: trust its CA, or correct the host name in the URL"
        return None


def causes(error: BaseException) -> list[BaseException]:
    """The error and what pika wrapped in it, outermost first."""
    found = [error]
    for inner in (*error.args, *getattr(error, "exceptions", ()), getattr(error, "exception", None)):
        if isinstance(inner, BaseException):
            found.extend(causes(inner))
    return found


def describe(error: BaseException) -> str:
    """The innermost cause in one line."""
    innermost = causes(error)[-1]
    text = ", ".join(map(str, innermost.args)) or type(innermost).__name__
    return " ".join(text.split())[:200]
