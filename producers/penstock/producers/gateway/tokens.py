"""JSON Web Tokens from an OpenID provider: signature, issuer, audience, time, and scopes."""

import asyncio
import contextlib
import threading
import time
from typing import Any

import jwt

from penstock.producers.gateway.caller import TENANT, Caller, Scope

# Only those with two keys: with a shared secret the public key itself could sign.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
LEEWAY_SECONDS = 30
FETCH_SECONDS_MAX = 5
KEEP_SECONDS = 300.0
# How often tokens with unknown keys can make us ask the provider.
LOOK_SECONDS = 30.0


class Refused(Exception):
    """The token is not good; the text says why, without the token."""


class ProviderUnavailable(Exception):
    """The provider's keys cannot be fetched, and there are none from before."""


class Tokens:
    """Tells the caller behind a token. `tenant_claim` binds a token that has it to a tenant."""

    def __init__(self, *, jwks_url: str, issuer: str, audience: str, tenant_claim: str, log: Any) -> None:
        self._client = jwt.PyJWKClient(jwks_url, cache_jwk_set=False, timeout=FETCH_SECONDS_MAX)
        self._issuer = issuer
        self._audience = audience
        self._tenant_claim = tenant_claim
        self._log = log
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._fetching = threading.Lock()

    async def find(self, token: str) -> Caller:
        """Who shows this token; raises `Refused`, `ProviderUnavailable`."""
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
        except jwt.PyJWTError:
            raise Refused("it is no JSON Web Token") from None
        if key_id not in self._keys or self._age() > KEEP_SECONDS:
            await asyncio.to_thread(self._fetch, key_id)
        key = self._keys.get(key_id)
        if key is None:
            raise Refused("the provider does not know the key that signed it")
        return self._caller_of(self._claims(token, key))

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise Refused(f"it is not good here: {type(error).__name__}") from None
        return claims

    def _caller_of(self, claims: dict[str, Any]) -> Caller:
        tenant = claims.get(self._tenant_claim)
        if tenant is not None and not (isinstance(tenant, str) and TENANT.fullmatch(tenant)):
            raise Refused(f"its claim {self._tenant_claim} is no name of a tenant")
        name = "".join(c if c.isprintable() else "?" for c in claims["sub"])[:200]
        return Caller(name=f"jwt:{name}", scopes=_scopes(claims), tenant=tenant)

    def _fetch(self, key_id: str | None) -> None:
        with self._fetching:
            is_new = key_id not in self._keys
            if self._age() < (LOOK_SECONDS if is_new else KEEP_SECONDS):
                return
            if time.monotonic() - self._tried_at < 1.0:
                self._need_some()
                return
            self._tried_at = time.monotonic()
            try:
                found = self._client.get_jwk_set(refresh=True).keys
            except jwt.PyJWTError as error:
                self._log.warning("the provider's keys cannot be fetched", error=type(error).__name__)
                self._need_some()
                return
            self._keys = {key.key_id: key for key in found if key.public_key_use in (None, "sig")}
            self._fetched_at = time.monotonic()

    def _need_some(self) -> None:
        if not self._keys:
            raise ProviderUnavailable

    def _age(self) -> float:
        return time.monotonic() - self._fetched_at


def _scopes(claims: dict[str, Any]) -> list[Scope]:
    """`scope` is text (RFC 8693), `scp` may be a list; those of other services are not ours to judge."""
    given = claims.get("scope", claims.get("scp", ""))
    texts = given.split() if isinstance(given, str) else [it for it in given if isinstance(it, str)]
    scopes = []
    for text in texts:
        with contextlib.suppress(ValueError):
            scopes.append(Scope.read(text))
    return scopes
