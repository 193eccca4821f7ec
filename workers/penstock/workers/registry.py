"""The handlers of a worker, collected from its modules at start. Duplicates and gaps are refused here."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

import dramatiq

from penstock.producers.schedules.declaration import Declaration, declarations_of
from penstock.schemas import ContractError
from penstock.workers.broker import PenstockBroker, contract_of_actor
from penstock.workers.entry import Entry, actor_entry, handler_entry
from penstock.workers.errors import WorkerConfigurationError
from penstock.workers.handler import TAG, HandlerTag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

    from penstock.schemas import Contract, Keyring


class Registry:
    """Entries by (type, version), and the queues they need.

    `find` also knows the names that a type had before, and the older versions that upcasters lead to a newer one.
    """

    def __init__(self, broker: PenstockBroker) -> None:
        self.broker = broker
        self._entries: dict[tuple[str, int], Entry] = {}
        self._found: dict[tuple[str, int], Entry] = {}
        self._types: dict[str, Contract] = {}  # by every name that a type has or had
        self.schedules: dict[str, list[Declaration]] = {}  # by module
        self._scheduled: list[Any] = []

    @classmethod
    def load(cls, modules: Iterable[str], *, broker: PenstockBroker | None = None) -> Registry:
        """Import modules by name and collect their handlers and Dramatiq actors.

        Actors that a module declares without a broker of their own belong to ours. Raises
        `WorkerConfigurationError` and `ContractError`.
        """
        broker = broker or PenstockBroker()
        dramatiq.set_broker(broker)
        registry = cls(broker)
        for name in modules:
            registry.collect(_import(name))
        if not registry._entries:
            raise WorkerConfigurationError(
                f"--jobs {', '.join(modules)}: no handlers found; tag functions with @handler(JobClass)"
            )
        return registry

    def collect(self, module: ModuleType) -> None:
        """Add what a module has in its namespace, its own or imported."""
        mine = self.schedules.setdefault(module.__name__, [])
        for value in list(vars(module).values()):
            mine += self._new_schedules(value)
            tag = getattr(value, TAG, None) if inspect.isfunction(value) else None
            if isinstance(tag, HandlerTag):
                self.add(tag, value)
            elif isinstance(value, dramatiq.Actor) and not self._is_ours(value):
                self._put(actor_entry(value, contract_of_actor(value)), value.fn)

    def add(self, tag: HandlerTag, function: Any) -> None:
        """Add one tagged function; raises `ContractError` if its type and version are taken."""
        contract = tag.job_class.contract()
        known = self._entries.get((contract.type, contract.version))
        if known is not None and known.call is function:
            return  # the same function, imported into a second module
        name = contract.type if contract.version == 1 else f"{contract.type}-v{contract.version}"
        self._refuse_duplicate(contract.type, contract.version, function)
        actor: dramatiq.Actor[Any, Any] = dramatiq.Actor(
            function, broker=self.broker, actor_name=name, queue_name=contract.queue, priority=0, options={}
        )
        is_async = inspect.iscoroutinefunction(function)
        self._put(
            handler_entry(tag.job_class, function, actor=actor, is_async=is_async, unknown=tag.unknown),
            function,
        )

    def find(self, job_type: str, version: int) -> Entry | None:
        return self._found.get((job_type, version))

    def knows_type(self, job_type: str) -> bool:
        return job_type in self._types

    def bindings(self, queues: Iterable[str] | None = None) -> dict[str, set[str]]:
        """Job types by queue, of all queues or of these; raises `WorkerConfigurationError` for an unknown one."""
        found: dict[str, set[str]] = {}
        for entry in self:
            found.setdefault(entry.contract.queue, set()).update(entry.contract.names)
        if queues is None:
            return found
        unknown = sorted(set(queues) - set(found))
        if unknown:
            raise WorkerConfigurationError(
                f"--queues {', '.join(unknown)}: no handler uses it; the handlers use {', '.join(sorted(found))}"
            )
        return {queue: types for queue, types in found.items() if queue in set(queues)}

    def require_keyring(self, keyring: Keyring | None) -> None:
        """Raises `WorkerConfigurationError` where a handler has sensitive fields and nobody could open them."""
        sensitive = sorted({entry.contract.type for entry in self if entry.sensitive})
        if sensitive and keyring is None:
            raise WorkerConfigurationError(
                f"{', '.join(sensitive)}: has sensitive fields; set PENSTOCK_KEYRING to the keys that open them"
            )

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    @property
    def has_async(self) -> bool:
        return any(entry.is_async for entry in self)

    def _put(self, entry: Entry, function: Any) -> None:
        contract = entry.contract
        known = self._entries.get((contract.type, contract.version))
        if known is not None and known.actor is entry.actor:
            return
        self._refuse_duplicate(contract.type, contract.version, function)
        for name in contract.names:
            _require_one_type(self._types.get(name, contract), contract)
        entries = {contract.version: entry, **dict(entry.older())}
        for version in entries:
            self._refuse_two_ways(contract.type, version)
        self._entries[contract.type, contract.version] = entry
        self._types |= dict.fromkeys(contract.names, contract)
        self._found |= {(name, version): it for name in contract.names for version, it in entries.items()}

    def _refuse_two_ways(self, job_type: str, version: int) -> None:
        if (job_type, version) in self._found:
            raise ContractError(
                f"payloads of {job_type} v{version} have two ways to go, a handler of their own and an upcaster to a "
                "newer version: remove one"
            )

    def _refuse_duplicate(self, job_type: str, version: int, function: Any) -> None:
        known = self._entries.get((job_type, version))
        if known is not None:
            raise ContractError(
                f"{job_type} v{version} has two handlers, {_name(known.actor.fn)} and {_name(function)}: "
                "remove one, or give one another version"
            )

    def _new_schedules(self, value: Any) -> list[Declaration]:
        """The schedules of a value that was not seen before; raises `ContractError` for a name that is taken."""
        if any(value is seen for seen in self._scheduled):
            return []
        found = declarations_of(value)
        if found:
            self._scheduled.append(value)
        taken = {known.name for declarations in self.schedules.values() for known in declarations}
        for declaration in found:
            if declaration.name in taken:
                raise ContractError(f"two schedules have the name {declaration.name!r}: give one another, with name=…")
            taken.add(declaration.name)
        return found

    def _is_ours(self, actor: dramatiq.Actor[Any, Any]) -> bool:
        return any(entry.actor is actor for entry in self)


def _require_one_type(known: Contract, contract: Contract) -> None:
    """All versions of a type share its names, of which no other type has one, and its queue."""
    if known.type != contract.type:
        raise ContractError(
            f"{known.type} and {contract.type} share a name: an alias belongs to one type, and is no type itself"
        )
    if known.names != contract.names:
        raise ContractError(f"{contract.type} has different aliases in different versions: give all the same")
    if known.queue != contract.queue:
        raise ContractError(
            f"{contract.type} uses the queues {known.queue!r} and {contract.queue!r}: "
            "all versions of a type share one queue"
        )


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise WorkerConfigurationError(
                f"--jobs {name}: no such module; give a dotted module name that can be imported from here"
            ) from None
        raise


def _name(function: Any) -> str:
    return f"{function.__module__}.{function.__qualname__}"
