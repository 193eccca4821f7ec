"""What the I/O side of a publisher does, and how often."""

import pytest

from penstock.producers.client.direct_sender import DirectSender


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[bool]:
    """What this method of the sender returns from now on."""
    returned: list[bool] = []
    original = getattr(DirectSender, name)

    def call(*arguments: object) -> bool:
        returned.append(original(*arguments))
        return returned[-1]

    monkeypatch.setattr(DirectSender, name, call)
    return returned
