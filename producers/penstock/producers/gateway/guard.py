"""The door: who asks."""

from starlette.requests import Request

from penstock.producers.gateway.caller import Caller, anybody


class Guard:
    """Lets requests pass, each under its caller."""

    def __init__(self) -> None:
        self._anybody = anybody()

    async def caller_of(self, request: Request) -> Caller:
        """Raises `Problem`."""
        request.state.caller = self._anybody.name
        return self._anybody
