"""Whether every payload that one JSON Schema takes is taken by another: what a change of a contract would refuse.

Made for the schemas that pydantic writes. What cannot be judged counts as refused: a gate must not guess. Rules
that stand only in code (validators) are in no schema; the check of live payloads finds those.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]

_UPPER = ("maxLength", "maxItems", "maxProperties")
_LOWER = ("minLength", "minItems", "minProperties")
_SAYS_NOTHING = frozenset({"$defs", "$schema", "$id", "$comment", "title", "description", "default", "examples"}) | {
    "deprecated",
    "readOnly",
    "writeOnly",
    "discriminator",
    "x-penstock",
}
_BOUNDS = frozenset({"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}) | {*_UPPER, *_LOWER}
_JUDGED = _BOUNDS | {
    "type",
    "enum",
    "const",
    "anyOf",
    "oneOf",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "prefixItems",
    "x-sealed",
}
_PYTHON_TYPES = {"string": str, "integer": int, "number": int | float, "boolean": bool, "array": list, "object": dict}


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Something that was allowed and is not any more; `field` is a dotted path, `[]` an item of a list."""

    field: str
    problem: str


def narrowings(old: Schema, new: Schema) -> list[Narrowing]:
    """What payloads that fit `old` would be refused for under `new`; empty if `new` takes them all."""
    return list(_Comparison(old, new).compare(old, new, ()))


class _Comparison:
    def __init__(self, old: Schema, new: Schema) -> None:
        self._old_models = old.get("$defs", {})
        self._new_models = new.get("$defs", {})
        self._under_way: set[tuple[str, str]] = set()

    def compare(self, old: Schema | bool, new: Schema | bool, path: tuple[str, ...]) -> Iterator[Narrowing]:
        """Resolve references and alternatives, then compare what is left type by type."""
        if new is True or old is False:
            return
        if new is False:
            yield _narrowing(path, "is not allowed any more")
            return
        old = {} if old is True else old
        references = (old.get("$ref", ""), new.get("$ref", ""))
        if all(references):
            if references in self._under_way:  # a model that holds itself: the outer comparison decides
                return
            self._under_way.add(references)
        try:
            yield from self._compare_resolved(_resolved(old, self._old_models), _resolved(new, self._new_models), path)
        finally:
            self._under_way.discard(references)

    def _compare_resolved(self, old: Schema, new: Schema, path: tuple[str, ...]) -> Iterator[Narrowing]:
        if (alternatives := _alternatives(old)) is not None:
            for alternative in alternatives:
                yield from self.compare(alternative, new, path)
        elif (alternatives := _alternatives(new)) is not None:
            refusals = [list(self.compare(old, alternative, path)) for alternative in alternatives]
            if all(refusals):
                others = [it for it, schema in zip(refusals, alternatives, strict=True) if schema != {"type": "null"}]
                yield from others[0] if len(others) == 1 else [_narrowing(path, "fits no alternative any more")]
        else:
            yield from self._compare_plain(old, new, path)

    def _compare_plain(self, old: Schema, new: Schema, path: tuple[str, ...]) -> Iterator[Narrowing]:
        if new.keys() <= _SAYS_NOTHING:
            return
        if refused := _missing_values(old, new):
            yield _narrowing(path, refused)
            return
        if "enum" in new or "const" in new:
            return
        yield from (_narrowing(path, problem) for problem in _bounds(old, new))
        if "x-sealed" in new:
            yield from self.compare(old.get("x-sealed", True), new["x-sealed"], path)
        yield from self._compare_items(old, new, path)
        yield from self._compare_fields(old, new, path)
        for keyword in sorted(new.keys() - _JUDGED - _SAYS_NOTHING):
            if new[keyword] != old.get(keyword):
                yield _narrowing(path, f"has a new or another '{keyword}'")

    def _compare_items(self, old: Schema, new: Schema, path: tuple[str, ...]) -> Iterator[Narrowing]:
        positions = max(len(old.get("prefixItems", ())), len(new.get("prefixItems", ())))
        for index in range(positions):
            yield from self.compare(_item(old, index), _item(new, index), (*path, str(index)))
        yield from self.compare(old.get("items", True), new.get("items", True), (*path, "[]"))

    def _compare_fields(self, old: Schema, new: Schema, path: tuple[str, ...]) -> Iterator[Narrowing]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name in before.keys() - after.keys():
            if new.get("additionalProperties") is False:
                yield _narrowing((*path, name), "is removed")
            else:
                yield from self.compare(before[name], new.get("additionalProperties", True), (*path, name))
        for name, schema in after.items():
            yield from self.compare(_field(old, name), schema, (*path, name))
        for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
            yield _narrowing((*path, name), "is newly required")
        if "object" in _types(old) and "additionalProperties" in new:
            further = self.compare(old.get("additionalProperties", True), new["additionalProperties"], path)
            yield from (Narrowing(it.field, f"further fields: {it.problem}") for it in further)


def _narrowing(path: tuple[str, ...], problem: str) -> Narrowing:
    return Narrowing(".".join(path) or "(body)", problem)


def _resolved(schema: Schema, models: dict[str, Schema]) -> Schema:
    seen = set()
    while (reference := schema.get("$ref")) is not None and reference not in seen:
        seen.add(reference)
        others = {key: value for key, value in schema.items() if key != "$ref"}
        schema = models[reference.removeprefix("#/$defs/")] | others
    return schema


def _alternatives(schema: Schema) -> list[Schema] | None:
    found: list[Schema] | None = schema.get("anyOf", schema.get("oneOf"))
    return found


def _types(schema: Schema) -> frozenset[str]:
    """The types that a schema takes; none said means all."""
    kind = schema.get("type")
    if kind is None:
        return frozenset({*_PYTHON_TYPES, "null"})
    return frozenset(kind if isinstance(kind, list) else [kind])


def _missing_values(old: Schema, new: Schema) -> str:
    """What types or single values are not taken any more."""
    before, after = _values(old), _values(new)
    if after is not None:
        if before is None:
            return "takes only certain values now"
        return "takes fewer values" if any(value not in after for value in before) else ""
    taken = _types(new)
    if before is not None:
        return "" if all(_is_of(value, taken) for value in before) else f"must be {_said(taken)} now"
    lost = {kind for kind in _types(old) - taken if not (kind == "integer" and "number" in taken)}
    return f"must be {_said(taken)} now, and was {_said(_types(old))}" if lost else ""


def _values(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values: list[Any] | None = schema.get("enum")
    return values


def _is_of(value: Any, types: frozenset[str]) -> bool:
    if value is None or isinstance(value, bool):
        return ("null" if value is None else "boolean") in types
    return any(isinstance(value, _PYTHON_TYPES[kind]) for kind in types - {"null", "boolean"})


def _said(types: frozenset[str]) -> str:
    return " or ".join(sorted(types))


def _bounds(old: Schema, new: Schema) -> Iterator[str]:
    for keyword in _UPPER:
        if new.get(keyword, math.inf) < old.get(keyword, math.inf):
            yield f"has a smaller {keyword}"
    for keyword in _LOWER:
        if new.get(keyword, 0) > old.get(keyword, 0):
            yield f"has a larger {keyword}"
    if _least(new) > _least(old):
        yield "has a larger minimum"
    if _most(new) < _most(old):
        yield "has a smaller maximum"


def _least(schema: Schema) -> tuple[float, bool]:
    """The lower bound, and whether it is excluded: the larger, the narrower."""
    return max((schema.get("minimum", -math.inf), False), (schema.get("exclusiveMinimum", -math.inf), True))


def _most(schema: Schema) -> tuple[float, bool]:
    """The upper bound, and whether it is included: the smaller, the narrower."""
    return min((schema.get("maximum", math.inf), True), (schema.get("exclusiveMaximum", math.inf), False))


def _item(schema: Schema, index: int) -> Schema | bool:
    first: list[Schema] = schema.get("prefixItems", [])
    return first[index] if index < len(first) else schema.get("items", True)


def _field(schema: Schema, name: str) -> Schema | bool:
    """What the old schema says of a field: its own, or that of fields which it does not name."""
    if name in schema.get("properties", {}):
        own: Schema = schema["properties"][name]
        return own
    return schema.get("additionalProperties", True) if "object" in _types(schema) else False
