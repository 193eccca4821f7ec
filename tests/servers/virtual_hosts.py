"""Clean RabbitMQ virtual hosts, one per test, made in one go for many tests: a call of rabbitmqctl takes a second."""

import itertools
import json
import re
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.error import URLError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import HTTPBasicAuthHandler, HTTPPasswordMgrWithPriorAuth, Request, build_opener

from tests.servers.errors import ServerError
from tests.servers.rabbitmqctl import Rabbitmqctl
from tests.servers.session import is_leftover, name_of

CHUNK = 24


class Maker(Protocol):
    """A way to make virtual hosts on a server."""

    def make(self, names: Sequence[str]) -> list[str]:
        """Make them and give the user of the tests all rights in them. Returns the names of all that there are."""

    def delete(self, names: Sequence[str]) -> None:
        """Delete them and whatever they hold."""


class VirtualHosts:
    """The virtual hosts that this session makes on one server."""

    def __init__(self, *, url: str, maker: Maker) -> None:
        self._url = url
        self._maker = maker
        self._numbers = itertools.count(1)
        self._clean: list[str] = []
        self._to_delete: list[str] = []

    def next_url(self) -> str:
        """The address of a virtual host that nobody has used; raises ServerError when the maker cannot make any."""
        if not self._clean:
            self._make_chunk()
        return url_of(self._url, self._clean.pop())

    def close(self) -> None:
        """Delete all that this session made, and what dead sessions left."""
        if self._to_delete:
            self._maker.delete(self._to_delete)

    def _make_chunk(self) -> None:
        names = [name_of(next(self._numbers)) for _ in range(CHUNK)]
        everything = self._maker.make(names)
        self._to_delete = [name for name in everything if name in names or name in self._to_delete or is_leftover(name)]
        self._clean = names


class ByRabbitmqctl:
    """Makes virtual hosts by one `rabbitmqctl eval`."""

    def __init__(self, *, rabbitmqctl: Rabbitmqctl, user: str, port: int | None) -> None:
        """`port` is the one that the node must listen on: a rabbitmqctl may belong to another server than the url."""
        self._evaluate = rabbitmqctl.evaluate
        self._user = user
        self._check = f"true = lists:keymember({port}, 6, rabbit_networking:active_listeners())," if port else ""

    def make(self, names: Sequence[str]) -> list[str]:
        all_rights = '<<".*">>, <<".*">>, <<".*">>'
        answer = self._evaluate(
            f"""{self._check} [begin
                rabbit_vhost:add(Name, <<"tests">>),
                rabbit_auth_backend_internal:set_permissions(<<"{self._user}">>, Name, {all_rights}, <<"tests">>)
            end || Name <- {binaries(names)}], rabbit_vhost:list_names()."""
        )
        return re.findall(r'<<"([^"]*)">>', answer)

    def delete(self, names: Sequence[str]) -> None:
        self._evaluate(f'[catch rabbit_vhost:delete(Name, <<"tests">>) || Name <- {binaries(names)}].')


class ByManagement:
    """Makes virtual hosts through the HTTP API of the management plugin."""

    def __init__(self, *, address: str, user: str, password: str) -> None:
        """`address` is like `http://127.0.0.1:15672`."""
        self._address = address
        self._user = user
        passwords = HTTPPasswordMgrWithPriorAuth()
        passwords.add_password(None, address, user, password, is_authenticated=True)
        self._opener = build_opener(HTTPBasicAuthHandler(passwords))

    def make(self, names: Sequence[str]) -> list[str]:
        for name in names:
            self._ask("PUT", f"vhosts/{name}", {})
            self._ask(
                "PUT", f"permissions/{name}/{quote(self._user)}", dict.fromkeys(["configure", "write", "read"], ".*")
            )
        return [host["name"] for host in self._ask("GET", "vhosts")]

    def delete(self, names: Sequence[str]) -> None:
        for name in names:
            self._ask("DELETE", f"vhosts/{name}")

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = Request(f"{self._address}/api/{path}", data=data, method=method, headers=headers)
        try:
            with self._opener.open(request, timeout=10) as response:
                answer = response.read()
        except URLError as error:
            raise ServerError(f"the management API at {self._address} refused {method} {path}: {error}") from error
        return json.loads(answer) if answer else None


class OnlyTheOneGiven:
    """For a server on which we may not make any: every test gets the same virtual host, which it must not trust."""

    def __init__(self, *, url: str) -> None:
        self._url = url

    def next_url(self) -> str:
        """The address that was given."""
        return self._url

    def close(self) -> None:
        """Nothing was made."""


def url_of(url: str, name: str) -> str:
    """The same address with another virtual host."""
    return urlsplit(url)._replace(path=f"/{quote(name, safe='')}").geturl()


def user_of(url: str) -> tuple[str, str]:
    """The user and the password of an AMQP address."""
    parts = urlsplit(url)
    return unquote(parts.username or "guest"), unquote(parts.password or "guest")


def binaries(names: Sequence[str]) -> str:
    """An Erlang list of binaries."""
    return "[" + ", ".join(f'<<"{name}">>' for name in names) + "]"
