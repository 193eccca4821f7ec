"""Sensitive fields: sealed on the wire, open for the handler, hidden from everybody else."""

from datetime import date
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, ValidationError, create_model

from penstock.schemas import (
    ContractError,
    Job,
    Keyring,
    KeyringError,
    Message,
    Payload,
    PayloadError,
    Sensitive,
    UnreadableMessage,
    upcaster,
)
from penstock.schemas.compatibility import narrowings
from penstock.schemas.documents import payload_schema
from penstock.schemas.keyring import UnknownKey, is_sealed
from penstock.schemas.message import read_message
from penstock.schemas.sensitive import Seals, secrets_of
from penstock.schemas.upcasting import read_older

SECRET = "4111111111111111"
NAME = "Ada, Countess of Lovelace"  # a short one turns up by chance in what is sealed
OLD, NEW = Keyring({"old": bytes(32)}), Keyring({"new": bytes(range(32)), "old": bytes(32)})


class Owner(BaseModel):
    name: str
    born: date


class Charge(Job, type="cards.charge", version=2):
    cents: int
    card: Sensitive[Annotated[str, Field(pattern="^[0-9]{16}$")]]
    owner: Sensitive[Owner] | None = None


CHARGE = Charge(cents=5, card=Sensitive(SECRET), owner=Sensitive(Owner(name=NAME, born=date(1815, 12, 10))))


def test_it_is_sealed_on_the_wire_and_open_for_who_has_the_key() -> None:
    """Each field by itself; what is not sensitive stays readable."""
    message = Message.of(CHARGE, keyring=NEW)
    assert SECRET.encode() not in message.body
    assert NAME.encode() not in message.body
    assert b'"cents":5' in message.body
    opened = Charge.from_body(message.body, Seals(NEW, message.id))
    assert opened == CHARGE
    assert (opened.card.reveal(), opened.owner is not None and opened.owner.reveal().born) == (
        SECRET,
        date(1815, 12, 10),
    )


def test_a_field_that_is_not_there_stays_so() -> None:
    """Its absence is no secret."""
    message = Message.of(Charge(cents=1, card=Sensitive(SECRET)), keyring=NEW)
    assert b'"owner":null' in message.body
    assert Charge.from_body(message.body, Seals(NEW, message.id)).owner is None


def test_a_plain_value_is_taken_where_a_job_is_made() -> None:
    """And held against the rules inside."""
    assert Charge(cents=1, card=SECRET) == Charge(cents=1, card=Sensitive(SECRET))
    for bad in ("1", Sensitive("1")):
        with pytest.raises(ValidationError):
            Charge(cents=1, card=bad)


def test_nothing_but_reveal_shows_it() -> None:
    """However a job is printed, dumped or formatted."""
    assert CHARGE.owner is not None
    shown = [str(CHARGE), repr(CHARGE), f"{CHARGE.card}", str(CHARGE.model_dump()), CHARGE.model_dump_json()]
    shown += [repr(CHARGE.__dict__), str(CHARGE.owner), str(vars(CHARGE).values())]
    for text in shown:
        assert SECRET not in text
        assert NAME not in text
        assert "[sensitive]" in text


def test_a_job_that_is_made_from_a_dump_keeps_its_secret_or_is_refused() -> None:
    """What stands for a hidden value must not be published in its place."""
    assert Charge(**CHARGE.model_dump()) == CHARGE
    with pytest.raises(ValidationError, match="pass the Sensitive itself"):
        Charge(**CHARGE.model_dump(mode="json"))


def test_without_a_keyring_it_is_not_published() -> None:
    """A redacted payload would be a lost one, and a clear one a leak."""
    with pytest.raises(KeyringError, match="give the producer keyring=…, or set PENSTOCK_KEYRING"):
        Message.of(CHARGE)
    with pytest.raises(KeyringError):
        CHARGE.to_body()


def test_a_clear_value_on_the_wire_is_refused() -> None:
    """A publisher that cannot seal must not find out by a breach."""
    body = b'{"cents": 5, "card": "%s"}' % SECRET.encode()
    for seals in (None, Seals(NEW, Message.of(CHARGE, keyring=NEW).id)):
        with pytest.raises(PayloadError, match="field 'card': must be sealed") as caught:
            Charge.from_body(body, seals)
        assert SECRET not in str(caught.value)


def test_who_has_no_key_can_check_all_the_rest() -> None:
    """A gate or a gateway; the value stays sealed, and can be passed on as it is under the same id."""
    message = Message.of(CHARGE, keyring=NEW)
    sealed = Charge.from_body(message.body)
    with pytest.raises(KeyringError, match="still sealed"):
        sealed.card.reveal()
    assert is_sealed(sealed.card.sealed)
    again = Message.of(sealed, job_id=message.id, keyring=NEW)
    assert Charge.from_body(again.body, Seals(NEW, message.id)) == CHARGE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda body, _: body.replace(b'"card":"eyJ', b'"owner2":"eyJ'), "field 'card': Field required"),
        (lambda _, other: other, "field 'card': cannot be opened: it was sealed for another job or field"),
        (lambda body, _: body[:-10] + (b"A" if body[-10:-9] != b"A" else b"B") + body[-9:], "cannot be opened: it was"),
    ],
)
def test_what_was_moved_or_changed_does_not_open(change: Any, said: str) -> None:
    """The dead letter names the field."""
    message, other = Message.of(CHARGE, keyring=NEW), Message.of(CHARGE, keyring=NEW)
    with pytest.raises(PayloadError, match=said) as caught:
        Charge.from_body(change(message.body, other.body), Seals(NEW, message.id))
    assert SECRET not in str(caught.value)


def test_what_is_sealed_is_held_against_the_rules_inside() -> None:
    """A value that another publisher sealed."""
    message = Message.of(CHARGE, keyring=NEW)
    sealed = Seals(NEW, message.id).seal("4111", field="card")
    body = b'{"cents": 5, "card": "%s"}' % sealed.encode()
    with pytest.raises(PayloadError, match=r"field 'card': String should match pattern"):
        Charge.from_body(body, Seals(NEW, message.id))
    no_json = NEW.seal(b"\xff", job_id=message.id, field="card")
    with pytest.raises(PayloadError, match="what was sealed is not JSON"):
        Charge.from_body(b'{"cents": 5, "card": "%s"}' % no_json.encode(), Seals(NEW, message.id))


def test_a_missing_key_is_no_fault_of_the_payload() -> None:
    """Somebody has it."""
    message = Message.of(CHARGE, keyring=NEW)
    with pytest.raises(UnknownKey):
        Charge.from_body(message.body, Seals(OLD, message.id))


def test_a_default_in_the_clear_is_refused_when_the_class_is_declared() -> None:
    """pydantic takes defaults as they are: it would be found out at the first publish."""
    with pytest.raises(ContractError, match=r"the default of 'card' must be a Sensitive\(…\)"):

        class Careless(Job, type="demo.careless"):
            card: Sensitive[str] = "4711"  # type: ignore[assignment]

    class Careful(Job, type="demo.careful"):
        card: Sensitive[str] = Sensitive("4711")
        note: Sensitive[str] | None = None

    assert Careful().card.reveal() == "4711"


@pytest.mark.parametrize("kind", [list[Sensitive[str]], dict[str, Sensitive[int]], "model", Sensitive[str] | int])
def test_a_sensitive_value_inside_of_another_field_is_refused_when_the_class_is_declared(kind: Any) -> None:
    """Half a field is not sealed; the whole one can be."""

    class Inner(BaseModel):
        secret: Sensitive[str]

    with pytest.raises(ContractError, match=r"field 'it' holds a Sensitive inside; make the whole field one"):
        create_model(
            "Made", __base__=Job, __cls_kwargs__={"type": "demo.made"}, it=(Inner if kind == "model" else kind, ...)
        )


def test_one_that_was_overlooked_is_not_lost_on_the_wire() -> None:
    """It is refused where it would be written."""

    class Loose(Job, type="demo.loose"):
        it: Any

    class Model(BaseModel):
        secret: Sensitive[str]

    job = Loose(it=Model(secret=Sensitive("x")))
    with pytest.raises(Exception, match="make the whole field Sensitive"):
        Message.of(job, keyring=NEW)


def test_two_publishes_of_one_clear_payload_are_told_to_be_the_same() -> None:
    """Under one key, over a rotation, by their digests and not by their bytes."""
    before, after = Message.of(CHARGE, key="k", keyring=OLD), Message.of(CHARGE, key="k", keyring=NEW)
    assert before.body != after.body
    assert before.payload_hash is not None
    assert after.payload_hash is not None
    assert set(before.payload_hash.split(",")) < set(after.payload_hash.split(","))
    other = Message.of(CHARGE.model_copy(update={"cents": 6}), key="k", keyring=OLD).payload_hash
    assert other != before.payload_hash
    assert Message.of(CHARGE, keyring=NEW).payload_hash is None
    assert Message.of(Charge.from_body(after.body), job_id=after.id, key="k", keyring=NEW).payload_hash is None


def test_the_digest_travels_as_a_header() -> None:
    """And is checked on its arrival."""
    message = Message.of(CHARGE, key="k", keyring=NEW)
    wire: dict[str, Any] = {
        "message_id": message.id,
        "type": message.type,
        "content_type": None,
        "correlation_id": None,
    }
    wire |= {"app_id": None, "body": message.body}
    assert read_message(**wire, headers=message.headers()) == message
    for bad in ("", "x", 7, "old:short", "a b:" + "A" * 43, ",".join(["old:" + "A" * 43] * 9)):
        with pytest.raises(UnreadableMessage, match="header payload-hash must be"):
            read_message(**wire, headers=message.headers() | {"payload-hash": bad})


def test_what_was_in_the_clear_may_become_sensitive_with_the_next_version() -> None:
    """The upcaster passes it on; a field that was sealed before stays as it is."""

    class Pay(Job, type="cards.pay", version=3):
        card: Sensitive[str]
        note: str

    upcaster(Pay, from_version=1)(lambda payload: {"card": payload["number"]})

    @upcaster(Pay, from_version=2)
    def noted(payload: Payload) -> Payload:
        return payload | {"note": ""}

    clear = read_older(Pay, b'{"number": "%s"}' % SECRET.encode(), Seals(NEW, "any"), version=1)
    assert clear.card.reveal() == SECRET
    sealed = Seals(NEW, "01932c07-209c-7c3f-a3b1-5a0c7d6f2b9e")
    body = b'{"card": "%s"}' % sealed.seal(SECRET, field="card").encode()
    assert read_older(Pay, body, sealed, version=2).card.reveal() == SECRET


def test_the_schema_says_how_it_travels_and_what_is_inside() -> None:
    """So that a publisher in another language knows, and the gate notices a change inside."""
    schema = payload_schema(Charge)
    assert schema["properties"]["card"]["type"] == "string"
    assert schema["properties"]["card"]["x-sealed"] == {"type": "string", "pattern": "^[0-9]{16}$"}

    def made(kind: Any) -> dict[str, Any]:
        return payload_schema(create_model("Made", __base__=Job, __cls_kwargs__={"type": "a.b"}, it=(kind, ...)))

    assert narrowings(made(Sensitive[int]), made(Sensitive[float])) == []
    assert [it.field for it in narrowings(made(Sensitive[float]), made(Sensitive[int]))] == ["it"]
    assert narrowings(made(str), made(Sensitive[str])) != []
    assert narrowings(made(Sensitive[str]), made(str)) == []


def test_every_way_to_write_a_secret_is_known_for_blanking_it_out() -> None:
    """Short ones and parts of objects too."""
    job = Charge(cents=77, card=Sensitive(SECRET), owner=Sensitive(Owner(name='"é', born=date(1815, 12, 10))))
    assert set(secrets_of(job, Charge.__sensitive__)) >= {SECRET, '"é', '\\"\\u00e9', "1815-12-10"}
    assert "77" not in set(secrets_of(job, Charge.__sensitive__))
