"""What is wrong with a payload, said without a word of the payload."""

import re
from functools import lru_cache
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import core_schema

PROBLEMS_MAX = 20

# pydantic's own texts say what the contract wants, except for these, which may quote what they got.
_PLAIN = frozenset(get_args(core_schema.ErrorType)) - {
    "assertion_error",
    "get_attribute_error",
    "iteration_error",
    "mapping_type",
    "no_such_attribute",
    "union_tag_invalid",
    "url_parsing",
    "url_syntax_violation",
    "uuid_parsing",
    "value_error",
} | {"hidden_value", "not_sealed", "seal_broken"}
# A typing mistake or a short key looks like this; a number, a token or an address does not.
_WORD = re.compile(r"[A-Za-z_]{1,32}")
HIDDEN = "(name hidden)"


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[tuple[str, str]]:
    """(field, problem) of the first problems, the field as a dotted path.

    Neither holds a value: a name that the payload chose is shown only if it looks like a word, and of what a
    validator of the contract's author says only that it refused.
    """
    known = _names_in(model)
    found = error.errors(include_input=False, include_context=False, include_url=False)
    problems = [(_path(item["loc"], known), _text(item["type"], item["msg"])) for item in found[:PROBLEMS_MAX]]
    if len(found) > PROBLEMS_MAX:
        problems.append(("…", f"{len(found) - PROBLEMS_MAX} more"))
    return problems


def _path(location: tuple[int | str, ...], known: frozenset[str]) -> str:
    return ".".join(_shown(part, known) for part in location) or "(body)"


def _shown(part: int | str, known: frozenset[str]) -> str:
    if isinstance(part, int) or part in known or part == "[key]" or _WORD.fullmatch(part):
        return str(part)
    return HIDDEN


def _text(kind: str, message: str) -> str:
    return message if kind in _PLAIN else "a rule of the contract refuses it"


@lru_cache(maxsize=256)
def _names_in(model: type[BaseModel]) -> frozenset[str]:
    """The names of fields anywhere in the contract."""
    try:
        return frozenset(_properties(model.model_json_schema()))
    except PydanticUserError:  # a field of a type that JSON Schema does not know
        return frozenset(model.model_fields)


def _properties(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [name for item in schema for name in _properties(item)]
    if not isinstance(schema, dict):
        return []
    own = schema.get("properties")
    names = [str(name) for name in own] if isinstance(own, dict) else []
    return names + [name for item in schema.values() for name in _properties(item)]
