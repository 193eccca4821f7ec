"""Who asks, and what they may do."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from penstock.producers.gateway.problems import Problem

Action = Literal["publish", "read", "cancel"]
ACTIONS: tuple[Action, ...] = ("publish", "read", "cancel")

_SCOPE = re.compile(r"(publish|read|cancel):([A-Za-z0-9_.*-]{1,120})")
TENANT = re.compile(r"[A-Za-z0-9_.-]{1,100}")


@dataclass(frozen=True, slots=True)
class Scope:
    """One right: an action, on the types that a glob means (`*` stands for anything): `publish:orders.*`."""

    action: Action
    glob: str

    @classmethod
    def read(cls, text: str) -> "Scope":
        """Raises `ValueError`."""
        match = _SCOPE.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is no scope: write publish:, read: or cancel: and a type, like publish:orders.*"
            )
        return cls(next(action for action in ACTIONS if action == match[1]), match[2])

    def __str__(self) -> str:
        return f"{self.action}:{self.glob}"

    def covers(self, action: Action, job_type: str) -> bool:
        if action != self.action:
            return False
        return _pattern(self.glob).fullmatch(job_type) is not None


@functools.lru_cache(maxsize=4096)
def _pattern(glob: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, glob.split("*"))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whoever has shown these credentials. `name` is for logs, the audit and rate limits.

    A caller with a `tenant` sees and makes only jobs of that tenant, and its dedup keys are a world of their own.
    `per_minute` is its rate limit, None for the default.
    """

    name: str
    scopes: Sequence[Scope]
    tenant: str | None = None
    per_minute: int | None = None

    def may(self, action: Action, job_type: str) -> bool:
        return any(scope.covers(action, job_type) for scope in self.scopes)

    def require(self, action: Action, job_type: str) -> None:
        """Raises `Problem`."""
        if not self.may(action, job_type):
            detail = f"these credentials may not {action} {job_type}; the scope {action}:{job_type} is missing"
            raise Problem(403, "forbidden", "Not allowed", detail)

    def globs(self, action: Action) -> list[str]:
        """The types on which it may do that."""
        return [scope.glob for scope in self.scopes if scope.action == action]

    def tenant_of(self, asked_for: str | None) -> str | None:
        """The tenant of a job that it submits; raises `Problem` for somebody else's."""
        if self.tenant is not None and asked_for not in (None, self.tenant):
            raise Problem(
                403, "forbidden", "Not allowed", "tenant: these credentials belong to another one; leave it out"
            )
        return self.tenant if self.tenant is not None else asked_for

    def sees(self, tenant: str | None) -> bool:
        return self.tenant is None or tenant == self.tenant

    def stored_key(self, key: str | None) -> str | None:
        """The dedup key in the ledger, where a type's keys are one world: two tenants may use the same one."""
        return key if key is None or self.tenant is None else f"{self.tenant}/{key}"

    def shown_key(self, stored: str | None) -> str | None:
        return stored if stored is None or self.tenant is None else stored.removeprefix(f"{self.tenant}/")


def anybody() -> Caller:
    """A gateway that asks for no credentials."""
    return Caller(name="anybody", scopes=[Scope(action, "*") for action in ACTIONS])
