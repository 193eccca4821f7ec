"""Old payloads become new ones: step by step, at the reader's, or the worker does not start."""

from typing import Any

import pytest

from penstock.schemas import ContractError, Job, Payload, PayloadError, upcaster
from penstock.schemas.upcasting import Upcast, older_versions, read_older

SECRET = "4111111111111111"


class Weigh(Job, type="demo.weigh", version=3):
    grams: int
    unit: str


@upcaster(Weigh, from_version=1)
def in_grams(payload: Payload) -> Payload:
    """Version 1 had kilograms."""
    kilograms = payload.pop("kilograms")
    return payload | {"grams": kilograms * 1000}


@upcaster(Weigh, from_version=2)
def with_unit(payload: Payload) -> Payload:
    """Version 2 had no unit."""
    return {**payload, "unit": "g"}


def test_a_payload_passes_through_every_step_after_its_version() -> None:
    """Declared in any order; each step knows only its neighbour."""
    assert older_versions(Weigh) == range(1, 3)
    assert read_older(Weigh, b'{"kilograms": 2}', version=1) == Weigh(grams=2000, unit="g")
    assert read_older(Weigh, b'{"grams": 7}', version=2) == Weigh(grams=7, unit="g")


def test_an_upcaster_stays_the_function_that_it_is() -> None:
    """It is tested like any other."""
    assert with_unit({"grams": 1}) == {"grams": 1, "unit": "g"}


def test_a_step_that_is_no_function_from_payload_to_payload_does_not_type_check() -> None:
    """mypy holds this test against the declaration: an unneeded ignore would be an error."""

    class Two(Job, type="demo.two", version=2):
        n: int

    def wrong(payload: str) -> int:
        return len(payload)

    upcaster(Two, from_version=1)(wrong)  # type: ignore[arg-type]


def test_a_job_without_upcasters_reads_no_older_version() -> None:
    """They wait for a worker that knows them."""

    class Four(Job, type="demo.four", version=4):
        n: int

    assert list(older_versions(Four)) == []


def test_a_missing_link_is_found_with_what_to_add() -> None:
    """Payloads of version 1 would get as far as version 2 and no further."""

    class Five(Job, type="demo.five", version=5):
        n: int

    upcaster(Five, from_version=1)(dict)
    upcaster(Five, from_version=3)(dict)
    with pytest.raises(ContractError, match=r"no upcaster from version 2, 4, .*add @upcaster\(Five, from_version=2\)"):
        older_versions(Five)


@pytest.mark.parametrize("version", [0, -1, 3, 4, "1", 1.0, True])
def test_only_an_older_version_can_be_upcast(version: Any) -> None:
    """To itself or to the past leads no way."""
    with pytest.raises(ContractError, match=r"demo.weigh: from_version=.* from 1 to 2"):
        upcaster(Weigh, from_version=version)


def test_one_version_has_one_upcaster() -> None:
    """Which of two would it be?"""
    with pytest.raises(ContractError, match="two upcasters from version 1"):
        upcaster(Weigh, from_version=1)(dict)


def test_an_heir_inherits_no_upcasters() -> None:
    """It is another type, with versions of its own."""

    class Parcel(Weigh, type="demo.parcel", version=3):
        pass

    assert list(older_versions(Parcel)) == []


def _fail(payload: Payload) -> Payload:
    raise ValueError(f"what is {payload}?")


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (_fail, r"demo.odd v1 does .* the upcaster from version 1 failed: ValueError"),
        (lambda payload: [payload], r"the upcaster from version 1 failed: TypeError"),
        (lambda payload: payload | {"m": SECRET}, r"demo.odd v1, upcast to v2, does .* field 'm': Extra inputs"),
    ],
)
def test_a_step_that_goes_wrong_says_which_and_no_value(step: Upcast, said: str) -> None:
    """The dead letter names both versions; a mended release replays it."""

    class Odd(Job, type="demo.odd", version=2):
        card: str

    upcaster(Odd, from_version=1)(step)
    with pytest.raises(PayloadError, match=said) as caught:
        read_older(Odd, b'{"card": "%s"}' % SECRET.encode(), version=1)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__
