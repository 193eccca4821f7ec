"""What can go wrong with the servers that the tests need."""


class ServerError(Exception):
    """A server did not start, or did not do what the tests asked of it."""


class NoServerError(Exception):
    """No server of one kind could be found or started on this machine."""

    def __init__(self, *, kind: str, variable: str, tried: list[str]) -> None:
        """`variable` is the environment variable that would name a server, `tried` one sentence for each attempt."""
        attempts = "\n".join(f"  - {attempt}" for attempt in tried)
        super().__init__(
            f"the tests need a real {kind} and found none. Tried:\n{attempts}\n"
            f"Remedy: set {variable}, or run `docker compose up -d`, or install {kind} on this machine."
        )
