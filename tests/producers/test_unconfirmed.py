"""The list of what is sent and not confirmed."""

from tests.producers.queues import AddRow

from penstock.producers.client.batch import Batch, Outgoing
from penstock.producers.client.unconfirmed import Unconfirmed
from penstock.schemas import Message


def outgoing(count: int) -> list[Outgoing]:
    batch = Batch([Message.of(AddRow(n=n)) for n in range(count)], timeout_seconds=1)
    return [Outgoing(batch, n, message) for n, message in enumerate(batch.messages)]


def filled(entries: list[Outgoing]) -> Unconfirmed:
    unconfirmed = Unconfirmed()
    for tag, entry in enumerate(entries, start=1):
        unconfirmed.add(tag, entry)
    return unconfirmed


def test_a_single_confirm_takes_one() -> None:
    """Confirms may come in any order."""
    entries = outgoing(3)
    unconfirmed = filled(entries)

    assert unconfirmed.take(2, multiple=False) == [entries[1]]
    assert unconfirmed.take(2, multiple=False) == []
    assert len(unconfirmed) == 2


def test_a_multiple_confirm_takes_everything_up_to_its_tag_in_order() -> None:
    """Except what was confirmed before."""
    entries = outgoing(5)
    unconfirmed = filled(entries)
    unconfirmed.take(2, multiple=False)

    assert unconfirmed.take(4, multiple=True) == [entries[0], entries[2], entries[3]]
    assert unconfirmed.take(4, multiple=True) == []
    assert unconfirmed.take_all() == [entries[4]]


def test_the_bytes_are_those_of_what_is_left() -> None:
    """They bound the memory."""
    entries = outgoing(3)
    unconfirmed = filled(entries)

    unconfirmed.forget(entries[0])
    unconfirmed.forget(entries[0])
    assert unconfirmed.bytes == entries[1].size + entries[2].size

    unconfirmed.take(3, multiple=True)
    assert unconfirmed.bytes == 0
