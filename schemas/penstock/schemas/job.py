"""The base class of all jobs."""

from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from typing import Any, ClassVar, Self

import pydantic_core
from pydantic import BaseModel, ConfigDict, ValidationError

from penstock.schemas.contract import Contract, Exceptions, Guarantee
from penstock.schemas.errors import ContractError, PayloadError
from penstock.schemas.problems import problems_of
from penstock.schemas.retry import RetryPolicy
from penstock.schemas.sensitive import WIRE, Seals, Sensitive, sensitive_fields

# Options that a subclass left out keep the defaults of `Contract`.
_UNSET: Any = object()


class Job(BaseModel):
    """A typed contract: the fields are the payload, the class arguments the options.

    ```python
    class AddRow(Job, type="demo.add_row", version=1, queue="demo"):
        n: int
    ```

    A subclass without `type` is abstract: other jobs may inherit its fields. Raises `ContractError`
    for a bad option and `PayloadError` where a payload is read that does not fit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    __contract__: ClassVar[Contract | None] = None
    __sensitive__: ClassVar[frozenset[str]] = frozenset()  # the names of its `Sensitive` fields
    # From version to version; see `upcasting`.
    __upcasters__: ClassVar[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {}

    def __init_subclass__(
        cls,
        *,
        type: str | None = None,  # noqa: A002 - the public name of the option
        version: int = _UNSET,
        queue: str = _UNSET,
        max_attempts: int = _UNSET,
        retry: RetryPolicy = _UNSET,
        timeout_seconds: float = _UNSET,
        guarantee: Guarantee = _UNSET,
        unique_for: timedelta = _UNSET,
        permanent: Exceptions = _UNSET,
        aliases: tuple[str, ...] = _UNSET,
        **kwargs: Any,
    ) -> None:
        try:
            super().__init_subclass__(**kwargs)
        except TypeError as error:
            if not kwargs:
                raise
            known = ", ".join(option.name for option in fields(Contract) if option.init)
            raise ContractError(f"{cls.__name__}: no option '{min(kwargs)}'; there are {known}") from error
        cls.__upcasters__ = {}
        given: dict[str, Any] = {
            "version": version,
            "queue": queue,
            "max_attempts": max_attempts,
            "retry": retry,
            "timeout_seconds": timeout_seconds,
            "guarantee": guarantee,
            "unique_for": unique_for,
            "permanent": permanent,
            "aliases": aliases,
        }
        options = {name: value for name, value in given.items() if value is not _UNSET}
        if type is None:
            if options:
                raise ContractError(f"{cls.__name__} has options but no type: add type=…")
            cls.__contract__ = None
        else:
            cls.__contract__ = Contract(type=type, **options)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        cls.__sensitive__ = sensitive_fields(cls)

    @classmethod
    def contract(cls) -> Contract:
        """The contract of this job class; raises `ContractError` for an abstract one."""
        if cls.__contract__ is None:
            raise ContractError(f"{cls.__name__} is abstract: declare it with type=… to publish or handle it")
        return cls.__contract__

    def to_body(self, seals: Seals | None = None) -> bytes:
        """The payload as it goes over the wire: UTF-8 JSON, with its sensitive fields sealed.

        Raises `KeyringError` where there are some and no keyring.
        """
        if not self.__sensitive__:
            return self.__pydantic_serializer__.to_json(self, context=WIRE)
        seals = seals or Seals(None)
        return self._body(lambda name, field: field.sealed or seals.seal(field.reveal(), field=name))

    def clear_body(self) -> bytes | None:
        """The same with everything in the clear, to tell payloads apart, never to be stored; None if it is sealed."""
        fields = [getattr(self, name) for name in self.__sensitive__]
        if any(field is not None and field.sealed is not None for field in fields):
            return None
        return self._body(lambda _, field: field.reveal())

    def _body(self, told: Callable[[str, Sensitive[Any]], Any]) -> bytes:
        body = self.__pydantic_serializer__.to_python(self, mode="json", exclude=set(self.__sensitive__), context=WIRE)
        for name in sorted(self.__sensitive__):
            field = getattr(self, name)
            body[name] = None if field is None else told(name, field)
        return pydantic_core.to_json(body)

    @classmethod
    def from_body(cls, body: bytes, seals: Seals | None = None) -> Self:
        """Read a payload, and open what is sealed if there are `seals`.

        Raises `PayloadError`, which names fields and never their values, and `UnknownKey`.
        """
        try:
            return cls.model_validate_json(body, context=seals)
        except ValidationError as error:
            contract = cls.contract()
            raise PayloadError(contract.type, contract.version, problems_of(error, cls)) from None
