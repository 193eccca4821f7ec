"""Where two payloads differ: the names of fields, never what is in them."""

import json
import re
from collections.abc import Iterator
from typing import Any

from penstock.schemas.keyring import SEALED_PATTERN

NAMES_MAX = 20
_SEALED = re.compile(SEALED_PATTERN)
# Other names are data: somebody may use card numbers as keys.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


def differing_fields(first: bytes, second: bytes) -> list[str]:
    """Dotted names of what is not the same, in the order of the second one; none if only the writing differs."""
    try:
        before, after = json.loads(first), json.loads(second)
    except ValueError:
        return ["payload"]
    names = dict.fromkeys(_differing(before, after, "payload"))
    return list(names)[:NAMES_MAX]


def _differing(first: Any, second: Any, path: str) -> Iterator[str]:
    if isinstance(first, dict) and isinstance(second, dict):
        for name in [*second, *(it for it in first if it not in second)]:
            inner = f"{path}.{name}" if _NAME.fullmatch(name) else path
            if name in first and name in second:
                yield from _differing(first[name], second[name], inner)
            else:
                yield inner
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for index, (left, right) in enumerate(zip(first, second, strict=True)):
            yield from _differing(left, right, f"{path}.{index}")
    elif (type(first) is not type(second) or first != second) and not (_is_sealed(first) and _is_sealed(second)):
        yield path


def _is_sealed(value: Any) -> bool:
    """Two sealed values differ also where the same was sealed twice: nobody here can tell."""
    return isinstance(value, str) and _SEALED.fullmatch(value) is not None
