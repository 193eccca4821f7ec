"""Failures as they may be shown."""

import json
import time
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel

from penstock.workers.redaction import MESSAGE_LENGTH_MAX, REDACTED, VALUE_LENGTH_MIN, describe

values = st.text(min_size=VALUE_LENGTH_MIN, max_size=40)
payloads = st.recursive(
    st.one_of(values, st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none()),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(values, children, max_size=4),
    max_leaves=12,
)


def raised(error: BaseException) -> BaseException:
    """The same error with a traceback."""
    try:
        fail(error)
    except BaseException as caught:
        return caught
    return error


def fail(error: BaseException) -> None:
    raise error


def leaves(value: Any) -> list[str]:
    """Every text in a payload."""
    if isinstance(value, dict):
        return [text for pair in value.items() for item in pair for text in leaves(item)]
    if isinstance(value, list):
        return [text for item in value for text in leaves(item)]
    return [value] if isinstance(value, str) and not value.isidentifier() else []


@given(payload=payloads, form=st.sampled_from([str, repr, json.dumps]), around=st.text(max_size=5))
def test_no_value_of_the_payload_is_in_what_is_shown(payload: Any, form: Any, around: str) -> None:
    """However the author of a handler has put it into a message."""
    body = json.dumps({"field": payload}).encode("utf-8", "surrogatepass")
    texts = leaves(payload)
    assume(not any(part in REDACTED or REDACTED in part or "\\" in part for part in texts))
    failure = describe(raised(ValueError(around + form(payload) + around)), payload=body)
    assume(not any(part in around for part in texts))
    assert [part for part in texts if part in failure.message or part in failure.traceback] == []


@pytest.mark.parametrize("form", [str, repr, json.dumps], ids=["str", "repr", "json"])
@pytest.mark.parametrize("secret", ["4111-1111", "line\nbreak", 'quo"ted', "paßwort", "back\\slash", "it's"])
def test_a_secret_is_recognized_in_every_way_of_writing_it(form: Any, secret: str) -> None:
    """Escaped by Python or by JSON."""
    body = json.dumps({"secret": secret}).encode()
    failure = describe(raised(ValueError(form(secret))), payload=body)
    assert REDACTED in failure.message
    assert secret not in failure.message


def test_keys_that_are_data_are_redacted_and_names_of_fields_are_not() -> None:
    """A dict may be keyed by what nobody should see."""
    body = json.dumps({"limits": {"anna@example.org": 3}}).encode()
    failure = describe(raised(KeyError("limits of anna@example.org")), payload=body)
    assert failure.message == f"'limits of {REDACTED}'"


def test_a_validation_error_tells_fields_and_rules_only() -> None:
    """pydantic would quote both ends of a long value, which is not the value and so would not be recognized."""

    class Answer(BaseModel):
        number: int

    secret = "4111-" * 40
    with pytest.raises(ValueError) as caught:
        Answer.model_validate({"number": secret})
    failure = describe(caught.value, payload=json.dumps({"card": secret}).encode())
    assert failure.message == "('number',): int_parsing"


def test_a_value_across_the_limit_of_the_message_leaves_no_part() -> None:
    """It is blanked out before the message is cut."""
    secret = "s3cr3t-" * 20
    text = "x" * (MESSAGE_LENGTH_MAX - 30) + secret
    failure = describe(raised(ValueError(text)), payload=json.dumps([secret]).encode())
    assert "s3cr3t" not in failure.message


def test_of_a_very_long_value_nothing_is_left() -> None:
    """Neither its beginning nor its end, whatever stands around it."""
    secret = "".join(f"{number:06d}" for number in range(100_000))
    failure = describe(raised(ValueError(f"bad: {secret}")), payload=json.dumps([secret]).encode())
    assert failure.message == f"bad: {REDACTED}"


def test_a_large_payload_in_a_large_message_takes_no_time() -> None:
    """A thread that redacts for a minute is a thread that does not work."""
    payload = [f"value number {number}" for number in range(30_000)]
    started = time.monotonic()
    failure = describe(raised(ValueError(payload)), payload=json.dumps(payload).encode())
    assert time.monotonic() - started < 5
    assert "value number" not in failure.message


def test_short_values_stay_because_they_say_little() -> None:
    """A message in which every 1 is blanked out helps nobody."""
    failure = describe(raised(ValueError("row 1 of PL")), payload=b'{"row":1,"country":"PL"}')
    assert failure.message == "row 1 of PL"


def test_the_same_mistake_has_the_same_fingerprint() -> None:
    """Its class and where it was raised, not what it says."""
    one, other = (describe(raised(ValueError(text)), payload=b"{}") for text in ("one", "other"))
    assert one.fingerprint == other.fingerprint
    assert describe(raised(KeyError("one")), payload=b"{}").fingerprint != one.fingerprint


@pytest.mark.parametrize("payload", [b"", b"\xff", b"[1, 2"], ids=["empty", "bytes", "cut off"])
def test_a_payload_that_is_no_json_disturbs_nothing(payload: bytes) -> None:
    """It did not get here through the door, but it may be here."""
    assert describe(raised(ValueError("boom")), payload=payload).message == "boom"
