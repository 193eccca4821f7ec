"""API keys for people and programs; their secrets are nowhere."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from penstock.console.opening import opened_ledger, time_of
from penstock.console.printing import briefly, print_json_lines, print_line, print_table
from penstock.ledger.api_keys import list_keys

COLUMNS = ("id", "name", "state", "scopes", "tenant", "last used")


def print_keys(*, as_json: bool) -> None:
    """All of them, the oldest first."""
    with opened_ledger() as session:
        found, now = list_keys(session), time_of(session)
    if as_json:
        print_json_lines({**key, "scopes": key["scopes"].split()} for key in found)
    elif found:
        print_table(COLUMNS, [_row(key, now) for key in found], keep=("id", "state", "last used"))
    else:
        print_line("no keys: `penstock keys create` makes one")


def _row(key: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    used = briefly(key["last_used_at"], now) or "never"
    return key["id"], key["name"], _state(key, now), key["scopes"], key["tenant"] or "", used


def _state(key: Mapping[str, Any], now: datetime) -> str:
    if key["revoked_at"] is not None:
        return "revoked"
    if key["expires_at"] is None:
        return "good"
    return "expired" if key["expires_at"] <= now else f"ends {briefly(key['expires_at'], now)}"
