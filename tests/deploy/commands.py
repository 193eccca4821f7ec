"""Command lines of containers, read as `penstock` reads them."""

from collections.abc import Sequence

import click
from typer.main import get_command

from penstock.console.main import app
from penstock.console.settings import ConsoleSettings
from penstock.notifications.settings import NotificationSettings
from penstock.pipelines.settings import PipelineSettings
from penstock.producers.gateway.settings import GatewaySettings
from penstock.producers.outbox.settings import RelaySettings
from penstock.schemas.version import __version__
from penstock.workers.settings import WorkerSettings

VERSION = __version__
VARIABLES = {
    f"PENSTOCK_{field}".upper()
    for settings in (
        WorkerSettings,
        ConsoleSettings,
        GatewaySettings,
        RelaySettings,
        NotificationSettings,
        PipelineSettings,
    )
    for field in settings.model_fields
}


def parsed(words: Sequence[str]) -> click.Context:
    """A command with its options; raises click's UsageError for what it does not know."""
    command, *rest = words
    known: click.Command = get_command(app).commands[command]  # type: ignore[attr-defined]
    if isinstance(known, click.Group):
        command, *rest = rest
        known = known.commands[command]
    return known.make_context(command, list(rest))
