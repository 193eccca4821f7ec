"""The world of the model check: one small, hashable value for all that the actors share.

Time is a flag: `due_at` is 0 (due) or 1 (later), and the clock may turn a 1 into a 0. Numbers that are only
compared (tokens, dispatch numbers) are kept small, so that the reachable worlds are finitely many.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from tests.model.protocol import Protocol

from penstock.ledger.effects import EffectState
from penstock.ledger.transitions import Row
from penstock.workers.effect import UnknownPolicy

NOBODY = -1  # no process has claimed the row
GONE = -2  # a process that no longer exists has

LATER = 1.0
COPIES_MAX = 2  # the dispatcher puts no third message of one job into the queue


class Receipt(IntEnum):
    NONE = 0
    UNKNOWN = 1  # published or accepted, the answer was lost
    GIVEN = 2
    EXCUSED = 3  # given by a broker that was wiped before the ledger knew the job


class Phase(IntEnum):
    """How far a worker is with the delivery in one of its slots."""

    DELIVERED = 0
    UNSURE = 1  # the claim was sent, its answer lost
    READY = 2  # claimed, not started
    RUNNING = 3
    COMMITTING = 4  # the handler's COMMIT was sent, its answer lost
    FINISHED = 5  # the handler has ended, its outcome is not settled
    SPENT = 6  # nothing left to do but the ack
    INTENDED = 7  # the intent of an external effect is recorded
    HAPPENED = 8  # the provider has had it, which is not recorded


class Outcome(IntEnum):
    COMPLETE = 0
    FAIL = 1
    BURY = 2
    SNOOZE = 3


class Life(IntEnum):
    ALIVE = 0
    KILLED = 1  # SIGKILL
    DIED = 2  # by its own doing
    VANISHED = 3  # with its host


class Request(IntEnum):
    """A statement whose sender has given up on it, and which the database may still execute."""

    CLAIM = 0
    COMMIT = 1
    SETTLE = 2


class Job(NamedTuple):
    """A job in all places, and the ghost counts by which the properties are judged."""

    row: Row | None = None
    process: int = NOBODY
    copies: int = 0  # messages in the queue
    receipt: Receipt = Receipt.NONE
    alias_of: int | None = None
    effects: int = 0  # transactional effects that were committed
    starts: int = 0  # of an at_most_once handler; each replay takes one off
    finishes: int = 0  # runs that came to an end of their own, since the last replay
    step: EffectState | None = None  # what the ledger knows of its external effect
    sent: int = 0  # how often the provider had it
    replays: int = 0


class Slot(NamedTuple):
    job: int
    phase: Phase
    token: int = 0
    unacked: bool = False
    outcome: Outcome = Outcome.COMPLETE
    alone: bool = False


class Worker(NamedTuple):
    life: Life
    slots: tuple[Slot | None, ...]  # of a dead worker: what its memory-mapped file says


class Selected(NamedTuple):
    """A due row in the dispatcher's hand."""

    job: int
    seen: Row
    published: bool = False


class Stray(NamedTuple):
    request: Request
    worker: int
    job: int
    token: int
    outcome: Outcome = Outcome.COMPLETE


class Budget(NamedTuple):
    """How often each fault, and each free choice of people and handlers, may still happen."""

    crashes: int = 0
    vanishes: int = 0
    dispatcher_crashes: int = 0
    wipes: int = 0
    duplicates: int = 0
    channel_drops: int = 0
    unknown_confirms: int = 0
    lost_claims: int = 0
    lost_settles: int = 0
    strays: int = 0
    early_rescues: int = 0
    troubles: int = 0
    stops: int = 0  # graceful stops of ours
    unstartable: int = 0  # deliveries that cannot start now: a paused queue, a full pool
    handbacks: int = 0
    failures: int = 0
    burials: int = 0
    snoozes: int = 0
    cancels: int = 0
    replays: int = 0
    discards: int = 0
    expiries: int = 0


class World(NamedTuple):
    jobs: tuple[Job, ...]
    workers: tuple[Worker, ...]
    dispatchers: tuple[Selected | None, ...]
    budget: Budget
    strays: tuple[Stray, ...] = ()
    key_holder: int | None = None
    key_expired: bool = False
    broken: str = ""  # the property that a step has broken


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """What a job is like. `transactional`: its effect commits with its completion."""

    accepted_by_ledger: bool = False
    later: bool = False
    at_most_once: bool = False
    transactional: bool = True
    guilty: bool = False  # its handler kills the process
    unknown: UnknownPolicy | None = None  # it has an external effect, and this policy for what nobody knows
    payload: str = ""


@dataclass(frozen=True, kw_only=True)
class Model:
    """One focussed exploration: a few jobs and actors, and small budgets of faults."""

    jobs: tuple[JobSpec, ...] = (JobSpec(),)
    workers: int = 2
    slots: int = 1
    lane: bool = True  # one more process, in which suspects run alone
    dispatchers: int = 1
    keyed: bool = False  # all jobs share one dedup key
    suspicion: bool = True  # rows whose message was lost are found
    budget: Budget = field(default_factory=Budget)
    protocol: Protocol = field(default_factory=Protocol)

    def start(self) -> World:
        worker = Worker(Life.ALIVE, (None,) * self.slots)
        return World(
            jobs=(Job(),) * len(self.jobs),
            workers=(worker,) * (self.workers + self.lane),
            dispatchers=(None,) * self.dispatchers,
            budget=self.budget,
        )


class Step(NamedTuple):
    """`promised`: it happens in the end, if nothing else does. Faults and choices are not promised."""

    label: str
    world: World
    promised: bool = True
