"""Who may do what: API keys, tokens, tenants, rates."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from tests.producers.gateway import minutes
from tests.producers.gateway.running import RunningGateway
from tests.servers.postgres import PrivatePostgres
from tests.servers.redis import PrivateRedis
from tests.waiting import until

from penstock.ledger.api_keys import ApiKey, add_key, hash_of, list_keys, new_key_text, revoke_key, rotate_key
from penstock.ledger.database import Ledger, Session
from penstock.ledger.jobs import list_jobs, show_job
from penstock.ledger.migrations import migrate
from penstock.producers.gateway import keyring, tokens
from penstock.producers.gateway.caller import Scope

EVERYTHING = ("publish:*", "read:*", "cancel:*")
JOB = {"type": "demo.add_row", "version": 1, "payload": {"n": 1}}


@pytest.fixture
def guarded(ledger_url: str) -> Iterator[RunningGateway]:
    """A gateway that asks for credentials."""
    with RunningGateway(ledger_url, asks_credentials=True) as gateway:
        yield gateway


def a_key(session: Session, *scopes: str, **more: Any) -> str:
    """A new key, whole."""
    key_id, text = new_key_text()
    key = ApiKey(id=key_id, name="shop", secret_hash=hash_of(text), scopes=scopes or EVERYTHING, **more)
    add_key(session, key, actor="ann")
    return text


def as_(credentials: str) -> dict[str, str]:
    """The header."""
    return {"Authorization": f"Bearer {credentials}"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer penstock_0123456789ab_wrong"},
        {"Authorization": "Bearer penstock__"},
        {"Authorization": "Bearer a.b.c"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/x", "/v1/jobs/x/events", "/v1/types", "/v1/types/x"])
def test_without_credentials_there_is_nothing_to_see(
    path: str, headers: dict[str, str], strict: RunningGateway
) -> None:
    """401, with the way to get some."""
    answer = strict.client.get(path, headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:batch", "/v1/jobs/x/cancel"])
def test_without_credentials_nothing_is_read(path: str, strict: RunningGateway) -> None:
    """Not even whether it is JSON."""
    assert strict.client.post(path, content=b"{").status_code == 401


@pytest.fixture(scope="module")
def strict(migrated_sqlite_file: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway where nobody has credentials."""
    file = tmp_path_factory.mktemp("strict") / "ledger.db"
    file.write_bytes(migrated_sqlite_file.read_bytes())
    with RunningGateway(f"sqlite:///{file}", asks_credentials=True) as gateway:
        yield gateway


def test_a_key_may_what_its_scopes_say(guarded: RunningGateway, session: Session) -> None:
    """For each action and type."""
    key = as_(a_key(session, "publish:demo.*", "read:mails.once"))
    client = guarded.client
    assert client.post("/v1/jobs", json=JOB, headers=key).status_code == 202
    mail = {"type": "mails.once", "payload": {"to": "a"}}
    refused = client.post("/v1/jobs", json=mail, headers=key)
    assert (refused.status_code, "publish:mails.once" in refused.json()["detail"]) == (403, True)
    batch = client.post("/v1/jobs:batch", json={"jobs": [JOB, mail]}, headers=key).json()
    assert [it["status"] for it in batch["results"]] == [202, 403]
    job_id = list_jobs(session)[0]["id"]
    assert client.get(f"/v1/jobs/{job_id}", headers=key).status_code == 404
    assert client.get(f"/v1/jobs/{job_id}/events", headers=key).status_code == 404
    assert client.post(f"/v1/jobs/{job_id}/cancel", headers=key).status_code == 404
    assert client.get("/v1/jobs", headers=key).json()["jobs"] == []
    assert client.get("/v1/jobs?type=demo.add_row", headers=key).status_code == 403


def test_the_public_part_of_a_key_opens_nothing(guarded: RunningGateway, session: Session) -> None:
    """Nor does it with a secret that is nearly right, or with another key's."""
    text, other = a_key(session), a_key(session)
    public = "_".join(text.split("_", 2)[:2])
    wrong = [public, f"{public}_", f"{text[:-1]}{'A' if text[-1] != 'A' else 'B'}", f"{text}A", text[:-1]]
    wrong.append(f"{public}_{other.split('_', 2)[2]}")
    for credentials in wrong:
        assert guarded.client.get("/v1/types", headers=as_(credentials)).status_code == 401
    assert guarded.client.get("/v1/types", headers=as_(text)).status_code == 200


def test_the_ledger_has_no_key_and_neither_has_the_log(guarded: RunningGateway, session: Session) -> None:
    """Only the public id is anywhere."""
    text = a_key(session)
    guarded.client.post("/v1/jobs", json=JOB, headers=as_(text))
    guarded.client.post("/v1/jobs", json=JOB, headers=as_(text[:-1] + "?"))
    secret = text.split("_", 2)[2]
    assert secret not in "".join(guarded.lines) + str(list_keys(session))
    assert f"caller='key:{text.split('_')[1]}'" in "".join(guarded.lines)


def test_a_tenant_sees_and_makes_only_jobs_of_its_own(guarded: RunningGateway, session: Session) -> None:
    """Whatever it asks for; the same key of two tenants is two jobs."""
    one, other = as_(a_key(session, tenant="one")), as_(a_key(session, tenant="other"))
    overseer = as_(a_key(session))
    client = guarded.client
    keyed = {**JOB, "key": "k"}
    first = client.post("/v1/jobs", json=keyed, headers=one).json()
    second = client.post("/v1/jobs", json={**keyed, "payload": {"n": 2}}, headers=other).json()
    assert (first["duplicate"], second["duplicate"], first["key"]) == (False, False, "k")
    assert client.post("/v1/jobs", json=keyed, headers=one).json()["id"] == first["id"]
    assert client.post("/v1/jobs", json={**JOB, "tenant": "one"}, headers=other).status_code == 403
    for path in ("", "/events"):
        assert client.get(f"/v1/jobs/{first['id']}{path}", headers=other).status_code == 404
    assert client.post(f"/v1/jobs/{first['id']}/cancel", headers=other).status_code == 404
    assert [it["id"] for it in client.get("/v1/jobs", headers=other).json()["jobs"]] == [second["id"]]
    assert client.get(f"/v1/jobs/{first['id']}", headers=one).json()["key"] == "k"
    assert len(client.get("/v1/jobs", headers=overseer).json()["jobs"]) == 2
    job = show_job(session, first["id"])
    assert job is not None
    assert (job["tenant"], job["state"]) == ("one", "available")


def test_a_revoked_or_expired_key_is_none(
    guarded: RunningGateway, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moment later at the latest."""
    monkeypatch.setattr(keyring, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(keyring, "LOOK_SECONDS", 0.0)
    good, brief = a_key(session), a_key(session, expires_at=datetime.now(UTC) + timedelta(seconds=0.5))
    assert guarded.client.get("/v1/types", headers=as_(good)).status_code == 200
    assert revoke_key(session, good.split("_")[1], actor="ann")
    assert guarded.client.get("/v1/types", headers=as_(good)).status_code == 401
    until(lambda: guarded.client.get("/v1/types", headers=as_(brief)).status_code == 401, what="its end")


def test_a_rotated_key_overlaps_with_its_successor(
    guarded: RunningGateway, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it ends; the new one has its rights."""
    monkeypatch.setattr(keyring, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(keyring, "LOOK_SECONDS", 0.0)
    old = a_key(session, "publish:demo.*", tenant="acme")
    new_id, new = new_key_text()
    soon = datetime.now(UTC) + timedelta(seconds=3)
    assert rotate_key(session, old.split("_")[1], new_id=new_id, new_hash=hash_of(new), until=soon, actor="ann")
    for key in (old, new):
        assert guarded.client.post("/v1/jobs", json=JOB, headers=as_(key)).status_code == 202
    until(lambda: guarded.client.get("/v1/types", headers=as_(old)).status_code == 401, what="the end of the overlap")
    assert guarded.client.post("/v1/jobs", json=JOB, headers=as_(new)).status_code == 202
    assert {job["tenant"] for job in list_jobs(session)} == {"acme"}
    assert not rotate_key(session, old.split("_")[1], new_id="x", new_hash="y", until=soon, actor="ann")


def test_the_use_of_a_key_is_noted(guarded: RunningGateway, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that one that nobody uses can be found."""
    monkeypatch.setattr(keyring, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(keyring, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(keyring, "NOTE_SECONDS", 0.0)
    key, _unused = as_(a_key(session)), a_key(session)
    for _ in range(2):
        assert guarded.client.get("/v1/types", headers=key).status_code == 200
    assert sorted(it["last_used_at"] is not None for it in list_keys(session)) == [False, True]


@pytest.mark.faults
def test_keys_are_known_for_a_while_without_the_ledger(
    private_postgres: PrivatePostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than that nobody can tell, and that is said; it is not the caller's fault."""
    monkeypatch.setattr(keyring, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(keyring, "LOOK_SECONDS", 0.0)
    url = private_postgres.create_database()
    migrate(url)
    with Ledger(url).session() as session:
        key = as_(a_key(session))
    with RunningGateway(url, asks_credentials=True) as gateway:
        assert gateway.client.get("/v1/types", headers=key).status_code == 200
        private_postgres.stop_immediately()
        assert gateway.client.get("/v1/types", headers=key).status_code == 200
        monkeypatch.setattr(keyring, "KEEP_SECONDS_WITHOUT_LEDGER", 0.0)
        assert gateway.client.get("/v1/types", headers=key).status_code == 503
    private_postgres.start()


@pytest.mark.parametrize(
    ("scope", "job_type", "covered"),
    [
        ("publish:orders.*", "orders.ship", True),
        ("publish:orders.*", "ordersXship", False),
        ("publish:orders.*", "orders", False),
        ("publish:*", "anything.at.all", True),
        ("publish:*.ship", "orders.ship", True),
        ("publish:orders.ship", "orders.ship.now", False),
        ("read:*", "orders.ship", False),
    ],
)
def test_a_glob_means_what_it_says(scope: str, job_type: str, covered: bool) -> None:
    """A star stands for anything, a dot for a dot."""
    assert Scope.read(scope).covers("publish", job_type) is covered


@pytest.mark.parametrize("text", ["", "publish", "publish:", "write:*", "publish:a b", "publish:[a]", "publish:a?"])
def test_what_is_no_scope_is_refused(text: str) -> None:
    """With what would be one."""
    with pytest.raises(ValueError, match="like publish:orders"):
        Scope.read(text)


class Provider:
    """An OpenID provider's keys on a loopback port."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.asked = 0
        self.broken = False
        self._server = HTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/keys"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def token(self, *, key: Any = None, algorithm: str = "RS256", kid: str = "k1", **changes: Any) -> str:
        """A good token, but for the changes; a claim that is None is left out."""
        now = int(time.time())
        good = {"iss": "https://id.example", "aud": "penstock", "sub": "shop", "iat": now, "exp": now + 60}
        claims = {k: v for k, v in (good | {"scope": "openid publish:demo.*"} | changes).items() if v is not None}
        return jwt.encode(claims, key or self.key, algorithm=algorithm, headers={"kid": kid})

    def close(self) -> None:
        """No longer answer."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                public = RSAAlgorithm.to_jwk(provider.key.public_key(), as_dict=True)
                body = json.dumps({"keys": [public | {"kid": "k1", "use": "sig"}]}).encode()
                self.send_response(500 if provider.broken else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Not of interest."""

        return Handler


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider that signs tokens."""
    provider = Provider()
    yield provider
    provider.close()


@pytest.fixture
def with_tokens(sqlite_url: str, provider: Provider) -> Iterator[RunningGateway]:
    """A gateway that takes its tokens."""
    settings: dict[str, Any] = {
        "jwks_url": provider.url,
        "jwt_issuer": "https://id.example",
        "jwt_audience": "penstock",
    }
    with RunningGateway(sqlite_url, asks_credentials=True, **settings) as gateway:
        yield gateway


def test_a_good_token_may_what_its_scopes_say(with_tokens: RunningGateway, provider: Provider) -> None:
    """Those of other services are passed over; a tenant binds."""
    client = with_tokens.client
    token = as_(provider.token(tenant="acme"))
    receipt = client.post("/v1/jobs", json=JOB, headers=token)
    assert receipt.status_code == 202
    assert client.get("/v1/jobs", headers=token).json()["jobs"] == []
    reader = as_(provider.token(scope=None, scp=["read:*"], tenant="acme"))
    assert client.get(f"/v1/jobs/{receipt.json()['id']}", headers=reader).json()["tenant"] == "acme"
    stranger = as_(provider.token(scope="read:*", tenant="other"))
    assert client.get(f"/v1/jobs/{receipt.json()['id']}", headers=stranger).status_code == 404
    assert provider.asked == 1


BAD_TOKENS: dict[str, Callable[[Provider], str]] = {
    "expired": lambda it: it.token(exp=int(time.time()) - 120),
    "without an end": lambda it: it.token(exp=None),
    "of another issuer": lambda it: it.token(iss="https://evil.example"),
    "for somebody else": lambda it: it.token(aud="mails"),
    "without a subject": lambda it: it.token(sub=None),
    "not good yet": lambda it: it.token(nbf=int(time.time()) + 600),
    "signed by another key": lambda it: it.token(key=rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    "signed by an unknown key": lambda it: it.token(kid="k9"),
    "signed with a shared secret": lambda it: it.token(key="s" * 64, algorithm="HS256"),
    "not signed": lambda it: jwt.encode({"sub": "shop", "aud": "penstock"}, "", algorithm="none"),
    "of a tenant that is none": lambda it: it.token(tenant="a/b"),
    "of a tenant that is a number": lambda it: it.token(tenant=7),
    "cut off": lambda it: it.token()[:-20],
}


@pytest.mark.parametrize("make", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_a_bad_token_is_refused(
    with_tokens: RunningGateway, provider: Provider, make: Callable[[Provider], str]
) -> None:
    """And said to be."""
    answer = with_tokens.client.get("/v1/types", headers=as_(make(provider)))
    assert (answer.status_code, "the token is refused" in answer.json()["detail"]) == (401, True)


def test_tokens_with_unknown_keys_do_not_make_us_ask_again_and_again(
    with_tokens: RunningGateway, provider: Provider
) -> None:
    """The provider is not ours to flood."""
    for number in range(20):
        token = as_(provider.token(kid=f"unknown{number}"))
        assert with_tokens.client.get("/v1/types", headers=token).status_code == 401
    assert provider.asked == 1


def test_a_provider_that_is_gone_is_not_the_callers_fault(
    with_tokens: RunningGateway, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 while its keys are not known; once they are, they are good without it."""
    token = as_(provider.token())
    provider.broken = True
    assert with_tokens.client.get("/v1/types", headers=token).status_code == 503
    provider.broken = False
    until(lambda: with_tokens.client.get("/v1/types", headers=token).status_code == 200, what="the keys")
    provider.broken = True
    monkeypatch.setattr(tokens, "KEEP_SECONDS", 0.0)
    assert with_tokens.client.get("/v1/types", headers=token).status_code == 200


def test_a_caller_that_asks_too_often_is_told_when_to_come_again(guarded: RunningGateway, session: Session) -> None:
    """Each has a limit of its own, and sees in each answer what is left."""
    limited, other = as_(a_key(session, per_minute=3)), as_(a_key(session))
    minutes.enough_of_this_one()
    answers = [guarded.client.get("/v1/types", headers=limited) for _ in range(4)]
    assert [it.status_code for it in answers] == [200, 200, 200, 429]
    assert [it.headers["ratelimit-remaining"] for it in answers] == ["2", "1", "0", "0"]
    assert 1 <= int(answers[3].headers["retry-after"]) <= 61
    assert answers[3].headers["content-type"] == "application/problem+json"
    assert guarded.client.get("/v1/types", headers=other).status_code == 200


def test_the_jobs_of_a_batch_count_each(guarded: RunningGateway, session: Session) -> None:
    """Else a batch would be a way around the limit."""
    limited = as_(a_key(session, per_minute=10))
    minutes.enough_of_this_one()
    post = guarded.client.post
    assert post("/v1/jobs:batch", json={"jobs": [JOB] * 8}, headers=limited).status_code == 200
    assert post("/v1/jobs:batch", json={"jobs": [JOB] * 3}, headers=limited).status_code == 429
    assert len(list_jobs(session)) == 8


@pytest.mark.faults
def test_redis_counts_for_all_gateways_and_without_it_each_has_its_share(
    sqlite_url: str, private_redis: PrivateRedis
) -> None:
    """Redis never holds truth: its loss makes the gateways careful, not wrong."""
    with Ledger(sqlite_url).session() as session:
        shared, later = as_(a_key(session, per_minute=10)), as_(a_key(session, per_minute=10))
    options: dict[str, Any] = {"asks_credentials": True, "redis_url": private_redis.url, "gateways": 2}
    with RunningGateway(sqlite_url, **options) as one, RunningGateway(sqlite_url, **options) as two:
        minutes.enough_of_this_one()
        assert passes(one, shared, 7) + passes(two, shared, 7) == 10
        private_redis.close()
        assert passes(one, later, 8) == 5
        assert passes(two, later, 8) == 5


@pytest.mark.faults
@pytest.mark.parametrize(("how", "let_through"), [("frozen", 5), ("flushed", 10)])
def test_a_redis_that_is_frozen_or_flushed_holds_up_nobody_and_costs_no_job(
    sqlite_url: str, private_redis: PrivateRedis, how: str, let_through: int
) -> None:
    """Frozen, each gateway has its share, after a wait of half a second; flushed, the minute begins again."""
    with Ledger(sqlite_url).session() as session:
        key = as_(a_key(session, per_minute=10))
        options: dict[str, Any] = {"asks_credentials": True, "redis_url": private_redis.url, "gateways": 2}
        with RunningGateway(sqlite_url, **options) as gateway:
            minutes.enough_of_this_one()
            assert passes(gateway, key, 11) == 10
            {"frozen": private_redis.freeze, "flushed": private_redis.flush}[how]()
            started = time.monotonic()
            answers = [gateway.client.post("/v1/jobs", json=JOB, headers=key).status_code for _ in range(12)]
            assert time.monotonic() - started < 5
        assert sorted(answers) == [202] * let_through + [429] * (12 - let_through)
        assert len(list_jobs(session)) == let_through


def passes(gateway: RunningGateway, key: dict[str, str], requests: int) -> int:
    """How many of these requests are let through."""
    answers = [gateway.client.get("/v1/types", headers=key) for _ in range(requests)]
    assert {it.status_code for it in answers} <= {200, 429}
    return sum(it.status_code == 200 for it in answers)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", ""])
def test_an_open_gateway_answers_only_as_localhost(door: RunningGateway, host: str) -> None:
    """A web page may have its own name point at this machine."""
    answer = door.client.get("/v1/types", headers={"Host": host})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (403, "Host")


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]", "[::1]:8080"])
def test_localhost_has_several_names(door: RunningGateway, host: str) -> None:
    """All of them are good."""
    assert door.client.get("/v1/types", headers={"Host": host}).status_code == 200
