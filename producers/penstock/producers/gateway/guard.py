"""The door: who asks, and how often."""

import ipaddress

from fastapi.routing import APIRoute
from starlette.requests import Request

from penstock.ledger.api_keys import PREFIX
from penstock.producers.gateway.caller import Caller, anybody
from penstock.producers.gateway.keyring import KeyRing, KeysUnknown
from penstock.producers.gateway.problems import Problem, unavailable
from penstock.producers.gateway.query import check_query
from penstock.producers.gateway.rates import Rates
from penstock.producers.gateway.tokens import ProviderUnavailable, Refused, Tokens


class Guard:
    """Lets requests pass, each under its caller. Without keys and tokens it lets anybody on this machine pass."""

    def __init__(self, *, keys: KeyRing | None, tokens: Tokens | None, rates: Rates) -> None:
        self._keys = keys
        self._tokens = tokens
        self._rates = rates
        self._anybody = anybody()
        self.asks_credentials = keys is not None or tokens is not None

    async def close(self) -> None:
        """Nobody is counted any more."""
        await self._rates.close()

    async def caller_of(self, request: Request) -> Caller:
        """Counts the request, too; raises `Problem`, also for a query that is not one of this route's."""
        check_query(request.scope["query_string"], _known_query(request))
        if self.asks_credentials:
            caller = await self._identify(request)
        else:
            _check_host(request)
            caller = self._anybody
        request.state.caller = caller.name
        request.state.headers = await self._rates.take(caller)
        return caller

    async def count(self, request: Request, caller: Caller, *, jobs: int) -> None:
        """Count the jobs of a batch beyond the first; raises `Problem`."""
        if jobs > 1:
            request.state.headers = await self._rates.take(caller, jobs=jobs - 1)

    async def _identify(self, request: Request) -> Caller:
        found = request.headers.getlist("authorization")
        scheme, _, credentials = found[0].partition(" ") if len(found) == 1 else ("", "", "")
        credentials = credentials.strip()
        if scheme.lower() != "bearer" or not credentials:
            raise _unknown("send one header Authorization: Bearer, with an API key (`penstock keys create`) or a token")
        try:
            if self._keys is not None and credentials.startswith(f"{PREFIX}_"):
                caller = await self._keys.find(credentials)
                if caller is None:
                    raise _unknown("this API key is not known, has expired or was revoked")
                return caller
            if self._tokens is not None:
                return await self._tokens.find(credentials)
        except Refused as error:
            raise _unknown(f"the token is refused: {error}") from None
        except (KeysUnknown, ProviderUnavailable):
            raise unavailable("nobody can tell at the moment whether these credentials are good") from None
        raise _unknown("this is no API key; they begin with penstock_, and are made by `penstock keys create`")


def _known_query(request: Request) -> list[str]:
    """What FastAPI was told; the one route that is not its own takes `wait`."""
    route = request.scope["route"]
    return [field.alias for field in route.dependant.query_params] if isinstance(route, APIRoute) else ["wait"]


def _unknown(detail: str) -> Problem:
    return Problem(401, "unauthenticated", "Who are you?", detail, headers={"WWW-Authenticate": "Bearer"})


def _check_host(request: Request) -> None:
    """A page on the web that has its own name point here must not be taken for this machine's own client."""
    host = request.headers.get("host", "")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    name = name.strip("[]")
    try:
        is_local = name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        is_local = False
    if not is_local:
        detail = "without credentials this gateway answers only as localhost; set the header Host to it"
        raise Problem(403, "host", "Not under this name", detail, errors=[("Host", detail)])
