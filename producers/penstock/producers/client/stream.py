"""Many jobs, pipelined, with a bounded number under way."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from penstock.producers.client.batch import Batch
from penstock.producers.client.errors import InvalidJob, PublishError, PublishRefused, Unroutable
from penstock.producers.client.publish import Publish, Publishable, PublishFailure, PublishManyError, as_publish
from penstock.producers.client.receipt import Receipt
from penstock.schemas import Keyring, Message

CHUNK_MESSAGES_MAX = 250
CHUNK_BYTES_MAX = 1024 * 1024
CHUNKS_UNDER_WAY_MAX = 8

# The fault of one job. Anything else is the broker's, and its neighbours would only share it.
_OWN_FAULT = (InvalidJob, PublishRefused, Unroutable)


@dataclass(slots=True)
class _Chunk:
    first: int
    publishes: list[Publish] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    invalid: dict[int, PublishError] = field(default_factory=dict)
    bytes: int = 0
    batch: Batch | None = None

    @property
    def is_full(self) -> bool:
        return len(self.publishes) >= CHUNK_MESSAGES_MAX or self.bytes >= CHUNK_BYTES_MAX


class Stream:
    """Publishes an iterable chunk by chunk.

    Iterating yields the batch to wait for next, so that a thread and an event loop can both drive it;
    `result()` afterwards returns the receipts or raises `PublishManyError`.
    """

    def __init__(
        self,
        jobs: Iterable[Publishable],
        *,
        submit: Callable[[list[Message]], Batch],
        app_id: str | None,
        keyring: Keyring | None = None,
    ) -> None:
        self._jobs = jobs
        self._submit = submit
        self._app_id = app_id
        self._keyring = keyring
        self._taken = 0
        self._receipts: list[Receipt] = []
        self._failures: list[PublishFailure] = []
        self._broken_off = False
        self._fault: BaseException | None = None

    def __iter__(self) -> Iterator[Batch]:
        under_way: deque[_Chunk] = deque()
        for chunk in self._chunks():
            self._start(chunk)
            under_way.append(chunk)
            if len(under_way) >= CHUNKS_UNDER_WAY_MAX:
                yield from self._finish(under_way.popleft())
            if self._broken_off:
                break
        for chunk in under_way:
            yield from self._finish(chunk)

    def result(self) -> list[Receipt]:
        """The receipts, in the order of the jobs; raises `PublishManyError`."""
        if self._failures or self._fault is not None:
            raise PublishManyError(receipts=self._receipts, failures=self._failures, taken=self._taken) from self._fault
        return self._receipts

    def _chunks(self) -> Iterator[_Chunk]:
        chunk = _Chunk(first=0)
        for publish in self._publishes():
            self._add(chunk, publish)
            if chunk.is_full:
                yield chunk
                chunk = _Chunk(first=self._taken)
        if chunk.publishes:
            yield chunk

    def _publishes(self) -> Iterator[Publish]:
        """What the iterable yields. When it raises, what it has yielded before is still seen through."""
        try:
            for item in self._jobs:
                yield as_publish(item)
        except Exception as error:
            self._fault = error

    def _add(self, chunk: _Chunk, publish: Publish) -> None:
        self._taken += 1
        try:
            message = publish.to_message(app_id=self._app_id, keyring=self._keyring)
        except InvalidJob as error:
            chunk.invalid[len(chunk.publishes)] = error
        else:
            chunk.messages.append(message)
            chunk.bytes += len(message.body)
        chunk.publishes.append(publish)

    def _start(self, chunk: _Chunk) -> None:
        try:
            chunk.batch = self._submit(chunk.messages)
        except PublishError as error:  # closed meanwhile
            self._broken_off = True
            chunk.invalid = dict.fromkeys(range(len(chunk.publishes)), error)

    def _finish(self, chunk: _Chunk) -> Iterator[Batch]:
        if chunk.batch is not None:
            yield chunk.batch
        outcomes = iter(()) if chunk.batch is None else zip(chunk.batch.messages, chunk.batch.errors, strict=True)
        for index, publish in enumerate(chunk.publishes):
            error = chunk.invalid.get(index)
            if error is None:
                message, error = next(outcomes)
                if error is None and chunk.batch is not None:
                    key = message.key or message.id
                    self._receipts.append(Receipt(message.id, key, "broker", chunk.batch.confirmed_at))
                    continue
            if error is not None:
                self._failures.append(PublishFailure(chunk.first + index, publish, error))
                self._broken_off = self._broken_off or not isinstance(error, _OWN_FAULT)
