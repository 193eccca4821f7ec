"""Payloads: written as JSON, read against their contract, and never quoted in an error."""

import json
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Annotated, Any, NoReturn
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field, ValidationError, create_model, field_validator
from pydantic_core import PydanticCustomError

from penstock.schemas import Job, PayloadError

SECRET = "4111111111111111"


class Card(Job, type="cards.charge", version=2):
    number: Annotated[str, Field(pattern="^[0-9]{4}$")] = "0000"
    cents: Annotated[int, Field(ge=0)] = 0
    tags: dict[str, int] = {}  # noqa: RUF012 - pydantic copies it
    at: datetime | None = None

    @field_validator("cents")
    @classmethod
    def _even(cls, cents: int) -> int:
        if cents % 2:
            raise ValueError(f"{cents} is odd")
        return cents


def _quote(value: int) -> NoReturn:
    raise PydanticCustomError("mine", "I do not like {value}", {"value": value})


class Note(Job, type="notes.add"):
    text: str
    numbers: list[int] = []  # noqa: RUF012 - pydantic copies it


@given(text=st.text(st.characters(exclude_categories=["Cs"])), numbers=st.lists(st.integers(-(2**53), 2**53)))
def test_a_payload_comes_back_as_it_was(text: str, numbers: list[int]) -> None:
    """Whatever its texts hold."""
    note = Note(text=text, numbers=numbers)
    assert Note.from_body(note.to_body()) == note


def test_a_payload_is_plain_json() -> None:
    """Another language reads it."""
    card = Card(number="1234", cents=4, at=datetime(2026, 3, 1, 12, tzinfo=UTC))
    assert card.to_body() == b'{"number":"1234","cents":4,"tags":{},"at":"2026-03-01T12:00:00Z"}'


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (f'{{"number": "{SECRET}"}}', "number"),
        (f'{{"cents": "{SECRET}x"}}', "cents"),
        (f'{{"cents": -{SECRET}}}', "cents"),
        (f'{{"at": "{SECRET} o\'clock"}}', "at"),
        (f'{{"tags": {{"x": "{SECRET}x"}}}}', "tags.x"),
        (f'["{SECRET}"]', "(body)"),
        (f'"{SECRET}"', "(body)"),
        (f"{{{SECRET}", "(body)"),
    ],
)
def test_an_error_names_the_field_and_never_the_value(body: str, field: str) -> None:
    """It ends in logs and on pages."""
    with pytest.raises(PayloadError) as caught:
        Card.from_body(body.encode())
    error = caught.value
    assert error.field == field
    assert f"field '{field}'" in str(error)
    assert "cards.charge v2" in str(error)
    for said in (str(error), repr(error), repr(error.problems), repr(error.args)):
        assert SECRET not in said
    assert error.__cause__ is None
    assert error.__suppress_context__


def test_an_unknown_field_is_refused() -> None:
    """A typing mistake would otherwise be lost without a word."""
    with pytest.raises(PayloadError, match="field 'numbr'"):
        Card.from_body(b'{"numbr": "1234"}')


@pytest.mark.parametrize("body", [f'{{"{SECRET}": 1}}', f'{{"tags": {{"{SECRET}": "x"}}}}'])
def test_a_name_that_a_payload_chose_is_a_value_too(body: str) -> None:
    """Who sends a card number as a key finds it in the logs."""
    with pytest.raises(PayloadError) as caught:
        Card.from_body(body.encode())
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["+48123456789", "a@b.example", "sk_live_51H", "x" * 33, "é", "two words"])
def test_only_a_name_that_looks_like_a_word_is_shown(name: str) -> None:
    """A typing mistake is worth seeing; a token, an address or a number is data."""
    with pytest.raises(PayloadError) as caught:
        Card.from_body(json.dumps({name: 1, "tags": {name: "x"}}).encode())
    assert name not in str(caught.value)
    assert [field for field, _ in caught.value.problems] == ["tags.(name hidden)", "(name hidden)"]


def test_a_name_of_the_contract_is_always_shown() -> None:
    """Also one that no word would look like, deep inside."""

    class Line(BaseModel):
        line1: int

    class Address(Job, type="demo.address"):
        lines: list[Line]

    with pytest.raises(PayloadError, match=r"field 'lines.0.line1'"):
        Address.from_body(b'{"lines": [{"line1": "x"}]}')


@pytest.mark.parametrize(
    ("kind", "value"), [(UUID, SECRET), (Annotated[int, AfterValidator(_quote)], SECRET), (IPv4Address, SECRET)]
)
def test_no_rule_quotes_what_it_refuses(kind: Any, value: str) -> None:
    """Neither pydantic's own nor one with an error of the author's making."""
    quoting = create_model("Quoting", __base__=Job, __cls_kwargs__={"type": "demo.quoting"}, it=(kind, ...))
    with pytest.raises(PayloadError, match="field 'it': a rule of the contract refuses it") as caught:
        quoting.from_body(json.dumps({"it": value}).encode())
    assert value not in str(caught.value)


def test_of_very_many_problems_only_the_first_are_named() -> None:
    """A payload of a megabyte must not become an error of a megabyte."""
    with pytest.raises(PayloadError, match="field '…': 9980 more") as caught:
        Note.from_body(json.dumps({"text": "", "numbers": ["x"] * 10_000}).encode())
    assert len(str(caught.value)) < 4_000


def test_what_a_validator_of_the_author_says_is_not_repeated() -> None:
    """It may quote the value."""
    with pytest.raises(PayloadError) as caught:
        Card.from_body(b'{"cents": 41111}')
    assert "41111" not in str(caught.value)


def test_all_problems_are_named_at_once() -> None:
    """So that a publisher mends them in one go."""
    with pytest.raises(PayloadError) as caught:
        Card.from_body(b'{"number": 1, "cents": "x"}')
    assert [field for field, _ in caught.value.problems] == ["number", "cents"]


def test_a_job_is_not_changed_after_it_was_made() -> None:
    """What is published is what was checked."""
    card = Card()
    with pytest.raises(ValidationError):
        card.cents = 2  # type: ignore[misc]


@given(body=st.binary(max_size=60))
def test_no_body_makes_another_error(body: bytes) -> None:
    """Garbage is a payload that does not fit."""
    _read(body)


@given(value=st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=8))
def test_no_json_makes_another_error(value: Any) -> None:
    """Nor does JSON of any shape."""
    _read(json.dumps({"text": value}).encode())
    _read(json.dumps(value).encode())


def _read(body: bytes) -> None:
    try:
        note = Note.from_body(body)
    except PayloadError:
        return
    assert Note.from_body(note.to_body()) == note
