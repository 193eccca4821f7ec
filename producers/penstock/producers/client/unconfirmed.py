"""What was sent on a channel and is not confirmed yet."""

from collections import OrderedDict
from collections.abc import Iterator

from penstock.producers.client.batch import Outgoing


class Unconfirmed:
    """Messages by delivery tag, oldest first.

    A confirm costs O(1) per message, also where `multiple` confirms thousands at once. (An ordinary dict
    would not do: finding its first key after many deletions at the front is linear.)
    """

    def __init__(self) -> None:
        self._by_tag: OrderedDict[int, Outgoing] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._by_tag)

    def __iter__(self) -> Iterator[Outgoing]:
        return iter(self._by_tag.values())

    def add(self, tag: int, entry: Outgoing) -> None:
        entry.tag = tag
        self._by_tag[tag] = entry
        self.bytes += entry.size

    def take(self, tag: int, *, multiple: bool) -> list[Outgoing]:
        """Remove and return what a confirm covers; tags that were forgotten are skipped."""
        if not multiple:
            entry = self._by_tag.pop(tag, None)
            taken = [] if entry is None else [entry]
        else:
            taken = []
            while self._by_tag and (tag == 0 or next(iter(self._by_tag)) <= tag):
                taken.append(self._by_tag.popitem(last=False)[1])
        for entry in taken:
            self.bytes -= entry.size
        return taken

    def take_all(self) -> list[Outgoing]:
        """Remove and return everything, in the order in which it was sent."""
        taken = self.take(0, multiple=True)
        self.bytes = 0  # who was interrupted while he added one has not counted it
        return taken

    def forget(self, entry: Outgoing) -> None:
        """Make room: nobody waits for this one any more."""
        if self._by_tag.get(entry.tag) is entry:
            del self._by_tag[entry.tag]
            self.bytes -= entry.size
