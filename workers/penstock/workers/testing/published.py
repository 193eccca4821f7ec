"""What was published, remembered and looked up by its contract."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, Unpack, cast

from penstock.producers.client import Publish, Receipt
from penstock.producers.client.publish import as_publish

if TYPE_CHECKING:
    from collections.abc import Iterable

    from penstock.producers.client import Publishable, PublishOptions
    from penstock.schemas import Job, Keyring

J = TypeVar("J", bound="Job")


@dataclass(frozen=True, slots=True)
class Published:
    """One accepted job."""

    job_id: str
    job: Job
    key: str | None
    due_at: datetime | None


class Remembering(Protocol):
    """`FakeProducer` and `InlineWorker` both are."""

    def published_of(self, job_class: type[Job]) -> list[Published]: ...


class FakeProducer:
    """The interface of `Producer` and `LedgerProducer`, for services under test: nothing leaves the process.

    A job that breaks the wire format is refused as by the real ones; a key that was used is the same job.
    """

    def __init__(self, *, app_id: str | None = None, keyring: Keyring | None = None) -> None:
        self.published: list[Published] = []
        self._app_id = app_id
        self._keyring = keyring

    def publish(
        self,
        job: Job,
        *,
        timeout_seconds: float | None = None,
        **options: Unpack[PublishOptions],
    ) -> Receipt:
        """Remember one job. Raises `InvalidJob`."""
        return self._remember(Publish(job, **options))

    def publish_many(self, jobs: Iterable[Publishable], *, timeout_seconds: float | None = None) -> list[Receipt]:
        """Remember jobs, `(job, key)` pairs or `Publish` items."""
        return [self._remember(as_publish(item)) for item in jobs]

    def published_of(self, job_class: type[Job]) -> list[Published]:
        """Every job of this class or one derived from it."""
        return [it for it in self.published if isinstance(it.job, job_class)]

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _remember(self, publish: Publish) -> Receipt:
        message = publish.to_message(app_id=self._app_id, keyring=self._keyring)
        known = self._known(publish)
        if known is None:
            self.published.append(Published(message.id, publish.job, message.key, message.due_at))
        job_id = message.id if known is None else known.job_id
        return Receipt(job_id, message.key or job_id, "broker", datetime.now(UTC))

    def _known(self, publish: Publish) -> Published | None:
        wanted = publish.job.contract().type, publish.key
        return next(
            (it for it in self.published if it.key is not None and (it.job.contract().type, it.key) == wanted), None
        )


def assert_published(
    where: Remembering, job_class: type[J], *, times: int | None = None, key: str | None = None, **fields: Any
) -> list[J]:
    """The jobs of this class that were published, under this key and with these fields where they are given.

    Raises `AssertionError`, which names all jobs of the class, if there are none, or not as many as `times`.
    """
    of_class = [(cast("J", it.job), it.key) for it in where.published_of(job_class)]
    found = [
        job
        for job, its_key in of_class
        if key in (None, its_key) and all(getattr(job, name) == value for name, value in fields.items())
    ]
    if len(found) == times or (times is None and found):
        return found
    wanted = "at least once" if times is None else f"{times} times"
    like = ", ".join(f"{name}={value!r}" for name, value in {**({} if key is None else {"key": key}), **fields}.items())
    there = "\n".join(f"  {job!r} key={its_key!r}" for job, its_key in of_class) or "  none"
    what = f"{job_class.__name__}({like}) was published {len(found)} times, not {wanted}"
    raise AssertionError(f"{what}; of this class there are:\n{there}")
