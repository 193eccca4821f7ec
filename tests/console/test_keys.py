"""`penstock keys`."""

import pytest
from tests.console.command import Command

from penstock.ledger.api_keys import hash_of, usable_keys
from penstock.ledger.audit import list_audit
from penstock.ledger.database import Session


def test_a_key_is_shown_once(penstock: Command, session: Session) -> None:
    """The ledger has its hash, the audit its id and its rights, the list neither key nor hash."""
    words = ("--scope", "publish:demo.*", "--scope", "read:*", "--tenant", "acme", "--per-minute", "60")
    made = penstock("keys", "create", "shop", *words, "--expires", "+90d", "--json").document
    [key] = usable_keys(session)
    assert (key.id, key.name, key.scopes, key.tenant, key.per_minute) == (
        made["id"],
        "shop",
        ("publish:demo.*", "read:*"),
        "acme",
        60,
    )
    assert key.fits(made["key"])
    listed = penstock("keys", "list")
    assert made["id"] in listed.out
    assert "ends in 90 d" in listed.out
    assert key.secret_hash not in listed.out
    [row] = penstock("keys", "list", "--json").documents
    assert (row["scopes"], row["last_used_at"], "secret_hash" in row) == (["publish:demo.*", "read:*"], None, False)
    [entry] = list_audit(session)
    assert (entry["actor"], entry["action"], entry["target"]) == ("ann", "create key", made["id"])
    assert made["key"] not in str(entry)


def test_every_key_is_another_one_of_256_bits(penstock: Command, session: Session) -> None:
    """Nothing to guess."""
    keys = [penstock("keys", "create", "a", "--scope", "read:*", "--json").document["key"] for _ in range(3)]
    assert len({key.rpartition("_")[0] for key in keys}) == 3
    assert all(len(key.split("_", 2)[2]) == 43 for key in keys)


def test_a_rotated_key_ends_after_the_overlap(penstock: Command, session: Session) -> None:
    """Its successor has the same rights."""
    old = penstock("keys", "create", "shop", "--scope", "read:*", "--json").document
    new = penstock("keys", "rotate", old["id"], "--overlap", "+2h", "--json").document
    keys = {key.id: key for key in usable_keys(session)}
    assert keys[old["id"]].expires_at is not None
    assert keys[new["id"]].expires_at is None
    assert keys[new["id"]].secret_hash == hash_of(new["key"])
    assert "ends in 2 h" in penstock("keys", "list").out


def test_a_revoked_key_is_good_no_longer(penstock: Command, session: Session) -> None:
    """And cannot be revoked or rotated again."""
    key_id = penstock("keys", "create", "shop", "--scope", "read:*", "--json").document["id"]
    assert penstock("keys", "revoke", key_id).code == 0
    assert usable_keys(session) == []
    for word in ("revoke", "rotate"):
        answer = penstock("keys", word, key_id)
        assert (answer.code, "penstock keys list" in answer.error) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--scope", "everything"), "--scope 'everything' is no scope"),
        (("--scope", "read:*", "--tenant", "a/b"), "--tenant must have letters"),
        (("--scope", "read:*", "--expires", "soon"), "--expires 'soon' is no time"),
        (("--scope", "read:*", "--expires", "2020-01-01T00:00:00Z"), "lies in the past"),
        ((), "--scope"),
    ],
)
def test_what_makes_no_key_is_refused(penstock: Command, session: Session, words: tuple[str, ...], said: str) -> None:
    """By the name of the option."""
    answer = penstock("keys", "create", "shop", *words)
    assert (answer.code, said in answer.error) == (2, True)
    assert usable_keys(session) == []


def test_without_keys_the_list_says_how_to_make_one(penstock: Command, session: Session) -> None:
    """Instead of an empty table."""
    assert "penstock keys create" in penstock("keys", "list").out
