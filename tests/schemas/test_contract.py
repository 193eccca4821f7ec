"""Options of a job: their defaults, their bounds, and errors that name the option and the remedy."""

from dataclasses import FrozenInstanceError
from datetime import timedelta
from typing import Any

import pytest

from penstock.schemas import Backoff, Contract, ContractError, Job, RetryPolicy
from penstock.schemas.contract import NAME_LENGTH_MAX, check_name


def test_a_contract_has_defaults_that_suit_most_jobs() -> None:
    """Only the type must be said."""
    contract = Contract(type="orders.ship")
    assert (contract.version, contract.queue, contract.max_attempts) == (1, "default", 10)
    assert (contract.timeout_seconds, contract.guarantee) == (600.0, "at_least_once")
    assert (contract.unique_for, contract.permanent) == (timedelta(days=7), ())
    assert isinstance(contract.retry, Backoff)
    with pytest.raises(FrozenInstanceError):
        contract.version = 2  # type: ignore[misc]


def test_a_job_class_carries_its_contract() -> None:
    """Options that it leaves out keep their defaults."""
    policy: RetryPolicy = Backoff(base_seconds=1)

    class Ship(
        Job,
        type="orders.ship",
        version=3,
        queue="orders",
        max_attempts=5,
        retry=policy,
        timeout_seconds=30,
        guarantee="at_most_once",
        unique_for=timedelta(hours=1),
        permanent=(KeyError,),
    ):
        n: int

    contract = Ship.contract()
    assert (contract.type, contract.version, contract.queue, contract.max_attempts) == ("orders.ship", 3, "orders", 5)
    assert (contract.retry, contract.timeout_seconds, contract.guarantee) == (policy, 30, "at_most_once")
    assert (contract.unique_for, contract.permanent) == (timedelta(hours=1), (KeyError,))


BAD_OPTIONS: list[tuple[str, Any, str]] = [
    ("version", 0, "must be 1 or more"),
    ("version", -1, "must be 1 or more"),
    ("max_attempts", 0, "between 1 and 1000"),
    ("max_attempts", 1001, "between 1 and 1000"),
    ("timeout_seconds", 0, "above 0"),
    ("timeout_seconds", -1, "above 0"),
    ("timeout_seconds", 8 * 86400, "at most a week"),
    ("timeout_seconds", float("nan"), "above 0"),
    ("timeout_seconds", float("inf"), "at most a week"),
    ("guarantee", "exactly_once", "'at_least_once' or 'at_most_once'"),
    ("unique_for", timedelta(seconds=-1), "must not be negative"),
]


@pytest.mark.parametrize(("option", "value", "rule"), BAD_OPTIONS)
def test_a_bad_option_is_refused_by_name_with_its_rule_and_its_value(option: str, value: Any, rule: str) -> None:
    """When the class is declared, long before a job is published."""
    options: dict[str, Any] = {option: value}
    with pytest.raises(ContractError) as caught:
        type("Ship", (Job,), {}, type="orders.ship", **options)
    said = str(caught.value)
    assert said.startswith("orders.ship: option ")
    assert f"'{option}'" in said
    assert rule in said
    assert repr(value) in said


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("version", "1"),
        ("version", 1.5),
        ("version", 2**31),  # the column and the wire take no larger one
        ("max_attempts", 2.5),
        ("max_attempts", None),
        ("timeout_seconds", "10"),
        ("unique_for", 3600),
        ("unique_for", timedelta.max),  # its end lies beyond every calendar
        ("permanent", ValueError),
        ("permanent", ("ValueError",)),
        ("retry", object()),
        ("aliases", "orders.old"),
        ("aliases", ("orders.old", "orders.old")),
        ("aliases", ("orders.ship",)),
    ],
)
def test_an_option_of_a_wrong_type_is_refused_by_name(option: str, value: Any) -> None:
    """Not with a TypeError from deep inside, nor later, when the first job arrives."""
    options: dict[str, Any] = {option: value}
    with pytest.raises(ContractError, match=f"'{option}'"):
        type("Ship", (Job,), {}, type="orders.ship", **options)


@pytest.mark.parametrize(
    "name",
    ["a", "A", "orders", "orders.ship", "orders.ship-now_2", "o.1", "o.-", "o._", "x" * NAME_LENGTH_MAX],
)
def test_names_that_can_be_routed_are_taken(name: str) -> None:
    """They become routing keys, queue names, labels and words on a command line."""
    check_name("type", name)
    assert Contract(type=name, queue=name).queue == name


def test_an_alias_must_be_a_name_like_any_other() -> None:
    """It is a routing key too."""
    with pytest.raises(ContractError, match="alias 'not a name' is not a name"):
        Contract(type="orders.ship", aliases=("not a name",))


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "1a",
        "-a",
        "_a",
        "a b",
        "a#",
        "a.*",
        "a/b",
        "é",
        "a\n",
        "a\x00",
        "\ud800",
        "x" * (NAME_LENGTH_MAX + 1),
        None,
        7,
        b"orders",
    ],
)
def test_names_that_cannot_be_routed_are_refused_with_an_example(name: Any) -> None:
    """For types and for queues."""
    with pytest.raises(ContractError, match=r"^type .* is not a name: use letters.*like 'orders.ship'"):
        Contract(type=name)
    with pytest.raises(ContractError, match=r"^queue .* is not a name"):
        Contract(type="a", queue=name)


def test_a_job_class_without_a_type_is_abstract() -> None:
    """Others inherit its fields; it can be neither published nor handled."""

    class Addressed(Job):
        address: str

    class Mail(Addressed, type="mail.send"):
        subject: str

    assert set(Mail.model_fields) == {"address", "subject"}
    assert Mail.contract().type == "mail.send"
    with pytest.raises(ContractError, match=r"Addressed is abstract: declare it with type=…"):
        Addressed.contract()


def test_a_subclass_of_a_job_with_a_type_is_abstract_again() -> None:
    """Two classes of one type would be two contracts."""

    class Mail(Job, type="mail.send"):
        address: str

    class Special(Mail):
        pass

    with pytest.raises(ContractError, match="Special is abstract"):
        Special.contract()


def test_an_option_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    """A slip of the pen: the bound that it should have set would be missed in production."""
    with pytest.raises(
        ContractError, match=r"Ship: no option 'max_attempt'; there are type, .*max_attempts, "
    ) as raised:
        type("Ship", (Job,), {}, type="orders.ship", max_attempt=3)
    assert "key_type" not in str(raised.value)


def test_options_without_a_type_are_refused() -> None:
    """They would be options of nothing."""
    with pytest.raises(ContractError, match=r"Ship has options but no type: add type=…"):
        type("Ship", (Job,), {}, queue="orders")
