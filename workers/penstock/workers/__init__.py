"""The engine: handlers, and the pools that run them."""

from penstock.producers.schedules import every
from penstock.workers.broker import PenstockBroker
from penstock.workers.context import Context
from penstock.workers.effect import EffectStep
from penstock.workers.errors import OutcomeUnknown, Permanent, WorkerConfigurationError
from penstock.workers.handler import handler
from penstock.workers.pool import Pool
from penstock.workers.registry import Registry

__all__ = [
    "Context",
    "EffectStep",
    "OutcomeUnknown",
    "PenstockBroker",
    "Permanent",
    "Pool",
    "Registry",
    "WorkerConfigurationError",
    "every",
    "handler",
]
