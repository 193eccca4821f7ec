"""API keys are made, rotated and revoked, each in the audit."""

from collections.abc import Sequence
from datetime import UTC, datetime

from penstock.console.due import parse_due
from penstock.console.exits import bad_input, problem
from penstock.console.opening import opened_ledger
from penstock.console.printing import print_facts, print_json, print_line
from penstock.console.settings import actor_of
from penstock.ledger import api_keys
from penstock.producers.gateway.caller import TENANT, Scope

NAME_LENGTH_MAX = 100


def create_key(
    *,
    name: str,
    scopes: Sequence[str],
    tenant: str | None,
    expires: str | None,
    per_minute: int | None,
    actor: str | None,
    as_json: bool,
) -> None:
    """Store a new key and show it."""
    who = actor_of(actor)
    if not 0 < len(name) <= NAME_LENGTH_MAX or not name.isprintable():
        raise bad_input(f"NAME must be printable, at most {NAME_LENGTH_MAX} characters")
    if tenant is not None and not TENANT.fullmatch(tenant):
        raise bad_input("--tenant must have letters, digits, '_', '-' and '.', at most 100 of them")
    key_id, text = api_keys.new_key_text()
    key = api_keys.ApiKey(
        id=key_id,
        name=name,
        secret_hash=api_keys.hash_of(text),
        scopes=tuple(_checked(scope) for scope in scopes),
        tenant=tenant,
        per_minute=per_minute,
        expires_at=_future("--expires", expires),
    )
    with opened_ledger() as session:
        api_keys.add_key(session, key, actor=who)
    _show(key_id, text, as_json=as_json)


def rotate_key(key_id: str, *, overlap: str, actor: str | None, as_json: bool) -> None:
    """Store a successor and show it."""
    who = actor_of(actor)
    until = _future("--overlap", overlap)
    assert until is not None
    new_id, text = api_keys.new_key_text()
    with opened_ledger() as session:
        if not api_keys.rotate_key(
            session, key_id, new_id=new_id, new_hash=api_keys.hash_of(text), until=until, actor=who
        ):
            raise _not_good(key_id)
    _show(new_id, text, as_json=as_json)


def revoke_key(key_id: str, *, actor: str | None, as_json: bool) -> None:
    """End a key."""
    with opened_ledger() as session:
        if not api_keys.revoke_key(session, key_id, actor=actor_of(actor)):
            raise _not_good(key_id)
    if as_json:
        print_json({"id": key_id, "outcome": "revoked"})
    else:
        print_line(f"key {key_id} is revoked; gateways stop taking it within five seconds")


def _show(key_id: str, text: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"id": key_id, "key": text})
    else:
        print_facts([("id", key_id), ("key", text), ("", "It is shown this once: the ledger has only its hash.")])


def _checked(scope: str) -> str:
    try:
        return str(Scope.read(scope))
    except ValueError as error:
        raise bad_input(f"--scope {error}") from None


def _future(option: str, text: str | None) -> datetime | None:
    time = parse_due(text, option=option)
    if time is not None and time < datetime.now(UTC):
        raise bad_input(f"{option} {text}: lies in the past; write a time to come, or +30d")
    return time


def _not_good(key_id: str) -> Exception:
    return problem(f"there is no key {key_id!r} that is still good: `penstock keys list` has all")
