"""Publishing straight into the ledger, where there is no broker in front of it: embedded, tests, small hosts."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Self, Unpack

from penstock.ledger.admission import Admission, Admitted, Offer, admit
from penstock.ledger.batch import BATCH_BYTES_MAX, BATCH_JOBS_MAX
from penstock.ledger.database import Ledger
from penstock.ledger.failpoints import Failpoint, reach
from penstock.ledger.state import State
from penstock.producers.client import (
    InvalidJob,
    KeyConflict,
    Publish,
    Publishable,
    PublishError,
    PublishFailure,
    PublishManyError,
    PublishOptions,
    Receipt,
)
from penstock.producers.client.publish import as_publish
from penstock.schemas import Contract, Job, Keyring, Message


class LedgerProducer:
    """The same interface as `Producer`; its receipts say `ledger`: the job survives the loss of the broker too.

    `url` is that of the ledger's database. Not thread-safe beyond one call at a time per instance; each call
    uses a session of its own. Raises `LedgerUnavailable`.
    """

    def __init__(self, url: str, *, app_id: str | None = None, keyring: Keyring | None = None) -> None:
        self._ledger = Ledger(url)
        self._app_id = app_id
        self._keyring = keyring

    def publish(
        self,
        job: Job,
        **options: Unpack[PublishOptions],
    ) -> Receipt:
        """Accept one job, durably; a duplicate gets the first one's id in its receipt. Raises `PublishError`."""
        message = _message(Publish(job, **options), app_id=self._app_id, keyring=self._keyring)
        [answer] = self._accept([_offer(message, job.contract())])
        if isinstance(answer, PublishError):
            raise answer
        return answer

    def publish_many(self, jobs: Iterable[Publishable]) -> list[Receipt]:
        """Accept jobs, `(job, key)` pairs or `Publish` items, in transactions; receipts in the same order.

        Raises `PublishManyError` when some have no receipt: it names them and has the receipts of the others.
        """
        accepting = _Accepting(self._accept)
        fault: Exception | None = None
        iterator = iter(jobs)
        while fault is None:
            try:
                publish = as_publish(next(iterator))
            except StopIteration:
                break
            except Exception as error:  # the iterable's: what it has yielded before is still seen through
                fault = error
            else:
                accepting.add(publish, app_id=self._app_id, keyring=self._keyring)
        return accepting.result(fault)

    def publish_message(self, message: Message, *, queue: str) -> Receipt:
        """Accept a message as it is, for a queue; what Dramatiq actors send comes this way. Raises `PublishError`."""
        [answer] = self._accept([Offer(message, queue, _state(message))])
        if isinstance(answer, PublishError):
            raise answer
        return answer

    def close(self) -> None:
        """Nothing is held open between calls."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self, offers: list[Offer]) -> list[Receipt | PublishError]:
        """One transaction; an answer for each, in their order."""
        with self._ledger.session() as session:
            admission = admit(session, offers)
            reach(Failpoint.ACCEPTED)
        now = datetime.now(UTC)
        return [_answer(offer.message, admission, now) for offer in offers]


class _Accepting:
    """Gathers jobs into transactions, and what became of them."""

    def __init__(self, accept: Callable[[list[Offer]], list[Receipt | PublishError]]) -> None:
        self.receipts: list[Receipt] = []
        self.failures: list[PublishFailure] = []
        self._accept = accept
        self._taken = 0
        self._waiting: list[tuple[int, Publish]] = []
        self._offers: list[Offer] = []
        self._bytes = 0

    def add(self, publish: Publish, *, app_id: str | None, keyring: Keyring | None) -> None:
        position, self._taken = self._taken, self._taken + 1
        try:
            message = _message(publish, app_id=app_id, keyring=keyring)
        except InvalidJob as error:
            self.failures.append(PublishFailure(position, publish, error))
            return
        self._waiting.append((position, publish))
        self._offers.append(_offer(message, publish.job.contract()))
        self._bytes += len(message.body)
        if len(self._offers) >= BATCH_JOBS_MAX or self._bytes >= BATCH_BYTES_MAX:
            self._flush()

    def result(self, fault: Exception | None) -> list[Receipt]:
        """The receipts; raises `PublishManyError`, from the fault of the iterable if there was one."""
        self._flush()
        if self.failures or fault is not None:
            raise self._error() from fault
        return self.receipts

    def _flush(self) -> None:
        if not self._offers:
            return
        try:
            answers = self._accept(self._offers)
        except Exception as error:
            if not self.receipts and not self.failures:
                raise
            # It may have accepted these all the same; under the same ids another try does no harm.
            unanswered = PublishError("the ledger gave no answer: publish it again", outcome_unknown=True)
            self.failures += [PublishFailure(position, publish, unanswered) for position, publish in self._waiting]
            raise self._error() from error
        for (position, publish), answer in zip(self._waiting, answers, strict=True):
            if isinstance(answer, PublishError):
                self.failures.append(PublishFailure(position, publish, answer))
            else:
                self.receipts.append(answer)
        self._waiting, self._offers, self._bytes = [], [], 0

    def _error(self) -> PublishManyError:
        failures = sorted(self.failures, key=lambda failure: failure.position)
        return PublishManyError(receipts=self.receipts, failures=failures, taken=self._taken)


def _answer(message: Message, admission: Admission, now: datetime) -> Receipt | PublishError:
    outcome = admission.outcomes[message.id]
    if outcome is Admitted.CONFLICT:
        text = f"the key of this {message.type} belongs to another job with another payload; it never runs"
        return KeyConflict(f"{text}: publish it under another key", job_id=message.id)
    if outcome is Admitted.MISMATCH:
        return InvalidJob("this id is known under another type or key: publish it under a new one", job_id=message.id)
    job_id, is_known = admission.first.get(message.id, message.id), outcome is Admitted.DUPLICATE
    return Receipt(job_id, message.key or message.id, "ledger", now, duplicate=is_known)


def _message(publish: Publish, *, app_id: str | None, keyring: Keyring | None) -> Message:
    if publish.reply_to is not None:
        text = "replies come over RabbitMQ, and this producer has none: use Producer, or look the job up by its id"
        raise InvalidJob(f"{publish.job.contract().type}: reply_to: {text}", job_id=publish.job_id)
    return publish.to_message(app_id=app_id, keyring=keyring)


def _offer(message: Message, contract: Contract) -> Offer:
    return Offer(
        message,
        contract.queue,
        _state(message),
        at_most_once=contract.guarantee == "at_most_once",
        unique_for=contract.unique_for,
        key_type=contract.key_type,
    )


def _state(message: Message) -> State:
    is_later = message.due_at is not None and message.due_at > datetime.now(UTC)
    return State.SCHEDULED if is_later else State.AVAILABLE
