"""Keys for sensitive fields, and what is done with them: seal, open, and recognize a payload without seeing it.

A sealed value is a JWE in compact form (RFC 7516; `dir`, A256GCM), so that any language can make one. Its header
names the key, the job and the field, and is authenticated with the value: it opens for that job and field only.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pydantic_core

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
KEYS_MAX = 8
KEY_ID = "[A-Za-z0-9._-]{1,40}"
# Five parts, of which the second, an encrypted key, is empty; the header begins with `{"`.
SEALED_PATTERN = r"^eyJ[A-Za-z0-9_-]+\.\.[A-Za-z0-9_-]{16}\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]{22}$"

_KEY_ID = re.compile(KEY_ID)
_SEALED = re.compile(SEALED_PATTERN)
_DIGEST_PURPOSE = b"penstock payload digest"


class KeyringError(ValueError):
    """A keyring is missing or malformed; the text says what to set, and never holds a key."""


class UnknownKey(Exception):
    """A value was sealed with a key that this keyring does not have."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        super().__init__(f"no key {key_id!r} in the keyring: add it to PENSTOCK_KEYRING")


class SealBroken(ValueError):
    """A sealed value is not one, was changed, or belongs to another job or field."""


class Keyring:
    """Keys of 256 bits by their ids. The first one seals; all of them open, so that keys can be rotated.

    Needs the package `cryptography` (`pip install 'penstock[sealing]'`). Raises `KeyringError`.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not 1 <= len(keys) <= KEYS_MAX:
            raise KeyringError(f"a keyring has between 1 and {KEYS_MAX} keys, not {len(keys)}")
        for key_id, key in keys.items():
            if not _KEY_ID.fullmatch(key_id):
                raise KeyringError(f"{key_id!r} is no id of a key: use letters, digits, '.', '_' and '-', at most 40")
            if len(key) != KEY_BYTES:
                raise KeyringError(f"key {key_id!r} has {len(key)} bytes; it must have {KEY_BYTES}")
        self.primary = next(iter(keys))
        self._ciphers: dict[str, AESGCM] = {key_id: _cipher(key) for key_id, key in keys.items()}
        # Another key for another purpose; HMAC serves as the derivation function.
        self._digest_keys = {key_id: hmac.digest(key, _DIGEST_PURPOSE, hashlib.sha256) for key_id, key in keys.items()}

    @classmethod
    def parse(cls, text: str) -> "Keyring":
        """Read `id:key,id:key` as `PENSTOCK_KEYRING` has it, each key in base64; raises `KeyringError`."""
        keys: dict[str, bytes] = {}
        for number, part in enumerate(text.split(","), start=1):
            key_id, separator, encoded = part.strip().partition(":")
            if not separator or key_id in keys:
                raise KeyringError(f"PENSTOCK_KEYRING, key {number}: write id:key, each id once, separated by commas")
            try:
                keys[key_id] = base64.b64decode(
                    encoded, altchars=b"-_" if set("-_") & set(encoded) else None, validate=True
                )
            except (binascii.Error, ValueError):
                raise KeyringError(f"PENSTOCK_KEYRING, key {number}: the key is not base64 of 32 bytes") from None
        return cls(keys)

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._ciphers)})"

    def seal(self, clear: bytes, *, job_id: str, field: str) -> str:
        """Encrypt a value for one field of one job."""
        header = {"alg": "dir", "enc": "A256GCM", "kid": self.primary, "job": job_id, "field": field}
        protected = _encode(pydantic_core.to_json(header))
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._ciphers[self.primary].encrypt(nonce, clear, protected.encode())
        return f"{protected}..{_encode(nonce)}.{_encode(sealed[:-TAG_BYTES])}.{_encode(sealed[-TAG_BYTES:])}"

    def open(self, text: str, *, job_id: str, field: str) -> bytes:
        """Decrypt a value; raises `SealBroken` and `UnknownKey`."""
        header = read_header(text)
        if header is None or header.get("alg") != "dir" or header.get("enc") != "A256GCM":
            raise SealBroken("it is not sealed as JWE with dir and A256GCM")
        if header.get("job") != job_id or header.get("field") != field:
            raise SealBroken("it was sealed for another job or field")
        cipher = self._ciphers.get(key_id := _key_id(header))
        if cipher is None:
            raise UnknownKey(key_id)
        protected, _, nonce, sealed, tag = text.split(".")
        try:
            return cipher.decrypt(_decode(nonce), _decode(sealed) + _decode(tag), protected.encode())
        except Exception:  # InvalidTag, or base64 that is none
            raise SealBroken("it was changed on its way, or sealed with another key under this id") from None

    def digests(self, clear: bytes, *, key: str) -> str:
        """What tells two payloads under one dedup key apart without showing them: an HMAC under each key.

        Under each, so that payloads sealed before and after a rotation are still recognized.
        """
        said = len(key.encode()).to_bytes(4, "big") + key.encode() + clear
        return ",".join(
            f"{key_id}:{_encode(hmac.digest(secret, said, hashlib.sha256))}"
            for key_id, secret in self._digest_keys.items()
        )


def is_sealed(value: object) -> bool:
    """Whether it has the form of a sealed value."""
    return isinstance(value, str) and _SEALED.fullmatch(value) is not None


def read_header(text: str) -> dict[str, Any] | None:
    """The header of a sealed value, which anybody can read; None if it is none."""
    if not is_sealed(text):
        return None
    try:
        header = pydantic_core.from_json(_decode(text.partition(".")[0]))
    except ValueError:
        return None
    return header if isinstance(header, dict) else None


def hide_sealed(value: Any) -> Any:
    """A JSON value for people: sealed values say no more than that they are."""
    if isinstance(value, dict):
        return {key: hide_sealed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hide_sealed(item) for item in value]
    header = read_header(value) if isinstance(value, str) else None
    return value if header is None else "[sealed]"


def _key_id(header: dict[str, Any]) -> str:
    key_id = header.get("kid")
    if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
        raise SealBroken("its key id is malformed")
    return key_id


def _cipher(key: bytes) -> "AESGCM":
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an extra
    except ImportError:
        raise KeyringError("sensitive fields need the package cryptography: pip install 'penstock[sealing]'") from None
    return AESGCM(key)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
