"""Keys, and values that only they open."""

import base64
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from penstock.schemas import Keyring, KeyringError
from penstock.schemas.keyring import SealBroken, UnknownKey, hide_sealed, is_sealed

KEYS = {"2026": bytes(range(32)), "2025": bytes(32)}
JOB = "01932c07-209c-7c3f-a3b1-5a0c7d6f2b9e"
RING = Keyring(KEYS)


@given(clear=st.binary(max_size=500), field=st.text(min_size=1))
def test_what_is_sealed_opens_for_its_job_and_field(clear: bytes, field: str) -> None:
    """Whatever it is; twice the same looks different."""
    sealed = RING.seal(clear, job_id=JOB, field=field)
    assert RING.open(sealed, job_id=JOB, field=field) == clear
    assert is_sealed(sealed)
    assert RING.seal(clear, job_id=JOB, field=field) != sealed


@pytest.mark.parametrize(("job_id", "field"), [(JOB, "other"), ("01932c07-209c-7c3f-a3b1-5a0c7d6f2b9f", "card")])
def test_it_opens_for_no_other_job_or_field(job_id: str, field: str) -> None:
    """Whoever can write into the queue cannot move a secret to where another handler shows it."""
    sealed = RING.seal(b"1", job_id=JOB, field="card")
    with pytest.raises(SealBroken, match="another job or field"):
        RING.open(sealed, job_id=job_id, field=field)


def test_any_change_is_noticed() -> None:
    """Of the header, the nonce, the value or the tag; also a header that was written anew."""
    sealed = RING.seal(b'"4111"', job_id=JOB, field="card")
    refused = 0
    for place, letter in enumerate(sealed):
        changed = sealed[:place] + ("A" if letter != "A" else "B") + sealed[place + 1 :]
        refused += _opened(changed) is None
        assert _opened(changed) in (None, b'"4111"')  # the last letter of a part holds bits that mean nothing
    assert refused > len(sealed) - 5
    header = {"alg": "dir", "enc": "A256GCM", "kid": "2025", "job": JOB, "field": "card"}
    forged = base64.urlsafe_b64encode(json.dumps(header, separators=(",", ":")).encode()).rstrip(b"=").decode()
    with pytest.raises(SealBroken, match="changed on its way, or sealed with another key"):
        RING.open(forged + sealed[sealed.index(".") :], job_id=JOB, field="card")


@pytest.mark.parametrize("text", ["", "4111", "eyJ", "a.b.c.d.e", "eyJh..b.c.d", "eyJhbGciOiJkaXIifQ.." + "A" * 40])
def test_what_is_not_sealed_is_told_from_what_is(text: str) -> None:
    """By its form."""
    with pytest.raises(SealBroken):
        RING.open(text, job_id=JOB, field="card")


def test_a_sealed_value_is_a_jwe_that_any_language_can_make() -> None:
    """RFC 7516 in compact form: opened here by hand, without our code."""
    protected, key, nonce, value, tag = RING.seal(b'"4111"', job_id=JOB, field="card").split(".")

    def decoded(part: str) -> bytes:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

    assert json.loads(decoded(protected)) == {
        "alg": "dir",
        "enc": "A256GCM",
        "kid": "2026",
        "job": JOB,
        "field": "card",
    }
    assert key == ""
    opened = AESGCM(KEYS["2026"]).decrypt(decoded(nonce), decoded(value) + decoded(tag), protected.encode())
    assert opened == b'"4111"'


def test_keys_are_rotated_by_their_ids() -> None:
    """The first one seals, all of them open; without its key a value stays closed, and says which key it is."""
    old = Keyring({"2025": KEYS["2025"]})
    sealed = old.seal(b"1", job_id=JOB, field="card")
    assert RING.open(sealed, job_id=JOB, field="card") == b"1"
    assert RING.primary == "2026"
    with pytest.raises(UnknownKey, match="no key '2026' in the keyring: add it to PENSTOCK_KEYRING"):
        old.open(RING.seal(b"1", job_id=JOB, field="card"), job_id=JOB, field="card")


def test_a_digest_tells_payloads_under_one_key_apart_and_nothing_else() -> None:
    """The same under the same dedup key; under another key nobody sees that they are the same."""
    assert RING.digests(b"1", key="k") == RING.digests(b"1", key="k")
    ours, theirs = RING.digests(b"1", key="k").split(","), Keyring({"2025": KEYS["2025"]}).digests(b"1", key="k")
    assert theirs in ours
    different = {RING.digests(clear, key=key) for clear, key in [(b"1", "k"), (b"2", "k"), (b"1", "l"), (b"k1", "")]}
    assert len(different) == 4


def test_a_keyring_is_read_from_a_setting() -> None:
    """In order; both alphabets of base64, with blanks between the keys."""
    secret = os.urandom(32)
    text = f"new:{base64.b64encode(secret).decode()}, old:{base64.urlsafe_b64encode(KEYS['2026']).decode()}"
    ring = Keyring.parse(text)
    assert (ring.primary, repr(ring)) == ("new", "Keyring(new, old)")
    sealed = Keyring({"new": secret}).seal(b"1", job_id=JOB, field="f")
    assert ring.open(sealed, job_id=JOB, field="f") == b"1"


GOOD = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "key 1: write id:key"),
        (GOOD, "key 1: write id:key"),
        (f"a:{GOOD},a:{GOOD}", "key 2: write id:key, each id once"),
        (f"a:{GOOD},", "key 2: write id:key"),
        ("a:AAAA", "key 'a' has 3 bytes; it must have 32"),
        ("a:§§§", "key 1: the key is not base64"),
        (f"a b:{GOOD}", "'a b' is no id of a key"),
        (",".join(f"k{n}:{GOOD}" for n in range(9)), "between 1 and 8 keys"),
    ],
)
def test_a_malformed_keyring_is_refused_without_showing_a_key(text: str, said: str) -> None:
    """It stands in logs of deployments."""
    with pytest.raises(KeyringError, match=said) as caught:
        Keyring.parse(text)
    assert GOOD not in str(caught.value)


def test_what_is_shown_says_only_that_it_is_sealed() -> None:
    """Wherever it stands; everything else stays."""
    sealed = RING.seal(b"1", job_id=JOB, field="card")
    payload: Any = {"card": sealed, "n": 1, "in": [{"deep": sealed}], "text": "eyJ"}
    assert hide_sealed(payload) == {"card": "[sealed]", "n": 1, "in": [{"deep": "[sealed]"}], "text": "eyJ"}


def test_without_cryptography_everything_but_a_keyring_works() -> None:
    """The thin client does not bring it along; who needs it is told what to install."""
    code = """
import sys
sys.modules["cryptography"] = None
import penstock.producers
from penstock.schemas import Job, Keyring, KeyringError, Sensitive
class Charge(Job, type="a.b"):
    card: Sensitive[str]
Charge(card="4111")
try:
    Keyring({"a": bytes(32)})
except KeyringError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'penstock[sealing]'" in done.stdout


def _opened(text: str) -> bytes | None:
    try:
        return RING.open(text, job_id=JOB, field="card")
    except (SealBroken, UnknownKey):
        return None
