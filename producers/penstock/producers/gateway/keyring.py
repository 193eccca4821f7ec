"""The API keys that are good, read from the ledger every few seconds instead of at every request."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.exc import DBAPIError

from penstock.ledger.api_keys import ApiKey, id_in, note_use, usable_keys
from penstock.ledger.database import LedgerUnavailable, Session
from penstock.producers.gateway.caller import Caller, Scope
from penstock.producers.gateway.questions import Questions, TooBusy

# A revoked key is good for so long at most; while the ledger does not answer, for a little longer.
KEEP_SECONDS = 5.0
KEEP_SECONDS_WITHOUT_LEDGER = 900.0
# How often somebody who shows an unknown key can make us look again.
LOOK_SECONDS = 1.0
NOTE_SECONDS = 60.0


class KeysUnknown(Exception):
    """The ledger has not said for long which keys are good."""


class KeyRing:
    """Finds the caller behind a key."""

    def __init__(self, questions: Questions, *, log: Any) -> None:
        self._questions = questions
        self._log = log
        self._keys: dict[str, tuple[ApiKey, Caller]] = {}
        self._read_at = float("-inf")
        self._tried_at = float("-inf")
        self._used: set[str] = set()
        self._noted_at = time.monotonic()
        self._reading = asyncio.Lock()

    async def find(self, text: str) -> Caller | None:
        """Who has this key, None if nobody has; raises `KeysUnknown`."""
        key_id = id_in(text)
        if key_id is None:
            return None
        await self._read(unless_younger=KEEP_SECONDS)
        if key_id not in self._keys:  # perhaps it was made just now
            await self._read(unless_younger=LOOK_SECONDS)
        if key_id not in self._keys:
            return None
        key, caller = self._keys[key_id]
        if not key.fits(text) or (key.expires_at is not None and key.expires_at <= datetime.now(UTC)):
            return None
        self._used.add(key_id)
        return caller

    async def _read(self, *, unless_younger: float) -> None:
        if self._age() < unless_younger:
            return
        async with self._reading:
            if self._age() < unless_younger or time.monotonic() - self._tried_at < LOOK_SECONDS:
                self._check_age()
                return
            self._tried_at = time.monotonic()
            try:
                keys = await self._questions.ask(self._ask)
            except (LedgerUnavailable, DBAPIError, TooBusy) as error:
                self._log.warning("the API keys cannot be read", error=type(error).__name__)
                self._check_age()
                return
            self._keys = {key.id: (key, _caller_of(key)) for key in keys}
            self._read_at = time.monotonic()

    def _ask(self, session: Session) -> list[ApiKey]:
        if self._used and time.monotonic() - self._noted_at > NOTE_SECONDS:
            used, self._used = self._used, set()
            self._noted_at = time.monotonic()
            note_use(session, used)
        return usable_keys(session)

    def _age(self) -> float:
        return time.monotonic() - self._read_at

    def _check_age(self) -> None:
        if self._age() > KEEP_SECONDS_WITHOUT_LEDGER:
            raise KeysUnknown


def _caller_of(key: ApiKey) -> Caller:
    scopes = [Scope.read(text) for text in key.scopes]
    return Caller(name=f"key:{key.id}", scopes=scopes, tenant=key.tenant, per_minute=key.per_minute)
