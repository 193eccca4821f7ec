"""What a changed contract refuses: each kind of change is named, and none is missed that a payload shows."""

import json
from datetime import datetime
from enum import Enum
from itertools import product
from typing import Annotated, Any, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model

from penstock.schemas import Job, PayloadError
from penstock.schemas.compatibility import Narrowing, narrowings
from penstock.schemas.documents import payload_schema


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Small(Strict):
    a: int


class Large(Strict):
    a: int
    b: str = ""


class Demanding(Strict):
    a: int
    b: str


class Open(BaseModel):
    a: int


class Tree(Strict):
    leaf: int
    branches: list["Tree"] = []


class StrictTree(Strict):
    leaf: Annotated[int, Field(ge=0)]
    branches: list["StrictTree"] = []


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


def a_job(**fields: Any) -> type[Job]:
    """A contract with these fields, each (type, default)."""
    return create_model("Made", __base__=Job, __cls_kwargs__={"type": "demo.made"}, **fields)


def compared(old: Any, new: Any, *, default: Any = ...) -> list[Narrowing]:
    """What the change of one field from a type to another refuses."""
    return narrowings(
        payload_schema(a_job(it=(old, default))), json.loads(json.dumps(payload_schema(a_job(it=(new, default)))))
    )


CHANGES: list[tuple[dict[str, Any], dict[str, Any], list[tuple[str, str]]]] = [
    ({"n": (int, ...)}, {"n": (int, ...)}, []),
    ({"n": (int, ...)}, {"n": (float, ...)}, []),
    ({"n": (int, ...)}, {"n": (int, 7)}, []),
    ({"n": (int, ...)}, {"n": (int, ...), "m": (int, 0)}, []),
    ({"n": (int, ...)}, {"n": (int | None, ...)}, []),
    ({"n": (int, ...)}, {"n": (int | str, ...)}, []),
    ({"n": (Annotated[int, Field(ge=2)], ...)}, {"n": (Annotated[int, Field(gt=0)], ...)}, []),
    ({"n": (Small, ...)}, {"n": (Large, ...)}, []),
    ({"n": (Tree, ...)}, {"n": (Tree, ...)}, []),
    ({"n": (int, ...)}, {}, [("n", "is removed")]),
    ({"n": (int, 7)}, {"n": (int, ...)}, [("n", "is newly required")]),
    ({"n": (int, ...)}, {"n": (int, ...), "m": (int, ...)}, [("m", "is newly required")]),
    ({"n": (float, ...)}, {"n": (int, ...)}, [("n", "must be integer now, and was number")]),
    ({"n": (int, ...)}, {"n": (str, ...)}, [("n", "must be string now, and was integer")]),
    ({"n": (int | None, ...)}, {"n": (int, ...)}, [("n", "must be integer now, and was null")]),
    ({"n": (Any, ...)}, {"n": (int, ...)}, [("n", "must be integer now")]),
    ({"n": (int | str, ...)}, {"n": (int | bool, ...)}, [("n", "fits no alternative any more")]),
    ({"n": (int, ...)}, {"n": (Annotated[int, Field(gt=0)], ...)}, [("n", "has a larger minimum")]),
    ({"n": (int, ...)}, {"n": (Annotated[int, Field(lt=9)] | None, ...)}, [("n", "has a smaller maximum")]),
    ({"n": (str, ...)}, {"n": (Annotated[str, Field(max_length=3)], ...)}, [("n", "has a smaller maxLength")]),
    ({"n": (str, ...)}, {"n": (Annotated[str, Field(min_length=3)], ...)}, [("n", "has a larger minLength")]),
    ({"n": (str, ...)}, {"n": (Annotated[str, Field(pattern="^a")], ...)}, [("n", "has a new or another 'pattern'")]),
    ({"n": (str, ...)}, {"n": (datetime, ...)}, [("n", "has a new or another 'format'")]),
    ({"n": (str, ...)}, {"n": (Literal["a"], ...)}, [("n", "takes only certain values now")]),
    ({"n": (Literal["a", "b"], ...)}, {"n": (Literal["a"], ...)}, [("n", "takes fewer values")]),
    ({"n": (Colour, ...)}, {"n": (Literal["red"], ...)}, [("n", "takes fewer values")]),
    ({"n": (Large, ...)}, {"n": (Small, ...)}, [("n.b", "is removed")]),
    ({"n": (Large, ...)}, {"n": (Demanding, ...)}, [("n.b", "is newly required")]),
    ({"n": (list[Large], ...)}, {"n": (list[Demanding], ...)}, [("n.[].b", "is newly required")]),
    ({"n": (Open, ...)}, {"n": (Small, ...)}, [("n", "further fields: is not allowed any more")]),
    ({"n": (Tree, ...)}, {"n": (StrictTree, ...)}, [("n.leaf", "has a larger minimum")]),
    ({"n": (dict[str, float], ...)}, {"n": (dict[str, int], ...)}, [("n", "further fields: must be integer now")]),
]


@pytest.mark.parametrize(("before", "after", "refused"), CHANGES)
def test_each_change_is_named_with_its_field(
    before: dict[str, Any], after: dict[str, Any], refused: list[tuple[str, str]]
) -> None:
    """And what only widens is let through."""
    found = narrowings(payload_schema(a_job(**before)), payload_schema(a_job(**after)))
    assert [it.field for it in found] == [field for field, _ in refused]
    for it, (_, problem) in zip(found, refused, strict=True):
        assert it.problem.startswith(problem)


# Not Decimal: to pydantic every text may be one, and its schema says no more than that.
TYPES: list[Any] = [
    Any,
    int,
    float,
    str,
    bool,
    None,
    int | None,
    int | str,
    str | list[int],
    Annotated[int, Field(ge=0)],
    Annotated[int, Field(gt=0, le=5)],
    Annotated[float, Field(lt=3)],
    Annotated[str, Field(min_length=2)],
    Annotated[str, Field(max_length=2)],
    Annotated[str, Field(pattern="^[a-z]+$")],
    Literal["red"],
    Literal["red", 1],
    Colour,
    datetime,
    list[int],
    list[str],
    list[int | None],
    Annotated[list[int], Field(max_length=1)],
    tuple[int, str],
    tuple[int, ...],
    set[int],
    dict[str, int],
    dict[str, Any],
    Annotated[dict[str, int], Field(min_length=1)],
    Small,
    Large,
    Demanding,
    Open,
    Tree,
    StrictTree,
    Small | Tree,
]
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 5, 6, 2.5, 3.5, "", "a", "ab", "abc", "red", "blue", "1", "2026-01-01T00:00:00Z"),
    *([], [1], [1, 2], [None], ["a"], [1, "a"], [1, 1]),
    *({}, {"a": 1}, {"a": "x"}, {"a": 1, "b": "x"}, {"a": 1, "c": 1}, {"leaf": 1}, {"leaf": -1}),
    {"leaf": 1, "branches": [{"leaf": -1, "branches": []}]},
]


@pytest.mark.parametrize("old", TYPES, ids=str)
def test_whatever_was_taken_and_is_refused_was_announced(old: Any) -> None:
    """For every pair of types and every value: what the comparison lets through, the new contract takes."""
    before = a_job(it=(old, ...))
    schema = payload_schema(before)
    taken = [
        value for value in VALUES if _takes(before, value) and Draft202012Validator(schema).is_valid({"it": value})
    ]
    assert taken
    for new in TYPES:
        after = a_job(it=(new, ...))
        if not narrowings(schema, payload_schema(after)):
            assert [value for value in taken if not _takes(after, value)] == [], f"{old} → {new}"


def test_a_contract_takes_what_it_took() -> None:
    """Nothing is announced where nothing changes, whatever the types."""
    assert [old for old in TYPES if compared(old, old)] == []


def test_most_pairs_are_told_apart() -> None:
    """A comparison that let everything through, or nothing, would pass one of the tests above."""
    let_through = sum(not compared(old, new) for old, new in product(TYPES, TYPES))
    assert len(TYPES) < let_through < len(TYPES) ** 2 / 4


def _takes(job_class: type[Job], value: Any) -> bool:
    try:
        job_class.from_body(TypeAdapter(Any).dump_json({"it": value}))
    except PayloadError:
        return False
    return True
