"""`Sensitive[...]`: a field that is sealed on its way, and shown to nobody but the handler."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

import pydantic_core
from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, PydanticUndefinedType, core_schema

from penstock.schemas.errors import ContractError
from penstock.schemas.keyring import SEALED_PATTERN, Keyring, KeyringError, SealBroken, is_sealed

T = TypeVar("T")

HIDDEN = "[sensitive]"
# Marks a serialization for the wire, where hiding a value would lose it.
WIRE = object()


@dataclass(frozen=True, slots=True)
class Seals:
    """A keyring for one job. `takes_clear`: values that are not sealed are taken too, as after an upcast."""

    keyring: Keyring | None
    job_id: str = ""
    takes_clear: bool = False

    def seal(self, value: Any, *, field: str) -> str:
        """The value of a field as the wire carries it; raises `KeyringError`."""
        if self.keyring is None:
            raise KeyringError(
                "a job with sensitive fields needs a keyring: give the producer keyring=…, or set PENSTOCK_KEYRING"
            )
        return self.keyring.seal(pydantic_core.to_json(value), job_id=self.job_id, field=field)


class Sensitive(Generic[T]):
    """A value that is encrypted at the publisher and decrypted for the handler: `card: Sensitive[str]`.

    `reveal()` gives the value. Everything else (printing, logging, dumping the job) shows `[sensitive]`. Rules go
    inside: `Sensitive[Annotated[str, Field(max_length=19)]]`.
    """

    __slots__ = ("_sealed", "_value")

    def __init__(self, value: T) -> None:
        self._value = value
        self._sealed: str | None = None

    @classmethod
    def of_sealed(cls, text: str) -> "Sensitive[T]":
        """As it came over the wire, where nobody has opened it."""
        sensitive = cls.__new__(cls)
        sensitive._sealed = text  # noqa: SLF001 - of this very class
        return sensitive

    @property
    def sealed(self) -> str | None:
        """The sealed form, if it has not been opened."""
        return self._sealed

    def reveal(self) -> T:
        """The value; raises `KeyringError` where nobody has opened it."""
        if self._sealed is not None:
            raise KeyringError("this value is still sealed: only a worker with its key opens it, for the handler")
        return self._value

    def __repr__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sensitive) or (self._sealed is None) != (other._sealed is None):
            return NotImplemented
        return bool(self._sealed == other._sealed if self._sealed is not None else self._value == other._value)

    def __hash__(self) -> int:
        return hash(self._sealed if self._sealed is not None else self._value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        [inner] = get_args(source) or (Any,)
        return core_schema.with_info_wrap_validator_function(
            cls._validate,
            handler.generate_schema(inner),
            serialization=core_schema.plain_serializer_function_ser_schema(cls._hide, info_arg=True),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": SEALED_PATTERN, "x-sealed": handler(schema["schema"])}

    @classmethod
    def _validate(
        cls, value: Any, validate: Callable[[Any], T], info: core_schema.ValidationInfo[Any]
    ) -> "Sensitive[T]":
        if isinstance(value, Sensitive):
            return value if value.sealed is not None else cls(validate(value.reveal()))
        if isinstance(value, str) and value == HIDDEN:
            raise PydanticCustomError(
                "hidden_value", "is only what stands for a hidden value: pass the Sensitive itself"
            )
        if info.mode == "python":
            return cls(validate(value))
        seals = info.context if isinstance(info.context, Seals) else Seals(None)
        if not is_sealed(value):
            if seals.takes_clear:
                return cls(validate(value))
            raise PydanticCustomError("not_sealed", "must be sealed: publish it with a keyring, never in the clear")
        if seals.keyring is None:
            return cls.of_sealed(value)
        return cls(validate(_opened(value, seals.keyring, seals.job_id, info.field_name or "")))

    @staticmethod
    def _hide(value: "Sensitive[T]", info: core_schema.SerializationInfo[Any]) -> "Sensitive[T] | str":
        if info.context is WIRE:
            raise ContractError("a Sensitive inside of another field cannot be sealed: make the whole field Sensitive")
        return value if info.mode == "python" else HIDDEN


def _opened(text: str, keyring: Keyring, job_id: str, field: str) -> Any:
    try:
        return pydantic_core.from_json(keyring.open(text, job_id=job_id, field=field))
    except SealBroken as error:
        raise PydanticCustomError("seal_broken", f"cannot be opened: {error}") from None
    except ValueError:
        raise PydanticCustomError("seal_broken", "cannot be opened: what was sealed is not JSON") from None


def sensitive_fields(model: type[BaseModel]) -> frozenset[str]:
    """The sensitive fields of a job class; raises `ContractError` for one inside of another field."""
    found = set()
    for name, field in model.model_fields.items():
        if _is_sensitive(field.annotation):
            if not isinstance(field.get_default(), Sensitive | PydanticUndefinedType | None):
                raise ContractError(
                    f"{model.__name__}: the default of '{name}' must be a Sensitive(…), as its values are"
                )
            found.add(name)
        elif _holds_sensitive(field.annotation, set()):
            raise ContractError(
                f"{model.__name__}: field '{name}' holds a Sensitive inside; make the whole field one: Sensitive[…]"
            )
    return frozenset(found)


def secrets_of(job: BaseModel, fields: frozenset[str]) -> Iterator[str]:
    """Every piece of text that the sensitive fields of a job hold, in each way in which it may be written."""
    for name in fields:
        value = getattr(job, name)
        if isinstance(value, Sensitive) and value.sealed is None:
            yield from _texts(json.loads(pydantic_core.to_json(value.reveal())))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from (*_texts(key), *_texts(item))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield from (text for text in (value, repr(value)[1:-1], json.dumps(value)[1:-1]) if text)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _is_sensitive(annotation: Any) -> bool:
    """`Sensitive[…]`, or that or None."""
    if get_origin(annotation) in (Union, UnionType):
        others = [it for it in get_args(annotation) if it is not NoneType]
        return len(others) == 1 and _is_sensitive(others[0])
    return annotation is Sensitive or get_origin(annotation) is Sensitive


def _holds_sensitive(annotation: Any, seen: set[Any]) -> bool:
    if _is_sensitive(annotation):
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in seen:
        seen.add(annotation)
        return any(_holds_sensitive(field.annotation, seen) for field in annotation.model_fields.values())
    return any(_holds_sensitive(it, seen) for it in get_args(annotation))
