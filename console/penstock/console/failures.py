"""What is said, and which code is returned, for each error that the rooms below can raise."""

import traceback
from pathlib import Path

import pika.exceptions
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from penstock.console.exits import Code, Failure, bad_input, problem, unreachable
from penstock.console.settings import ConsoleSettings
from penstock.ledger.database import LedgerConfigurationError, LedgerUnavailable, is_disconnect, sqlstate
from penstock.ledger.revision import SchemaUnfit
from penstock.producers.client import InvalidJob, KeyConflict, PublishError, PublishRefused, Unroutable
from penstock.producers.client.endpoint import Endpoint, describe
from penstock.producers.outbox.store import OutboxMissing, OutboxUnavailable
from penstock.schemas import ContractError, KeyringError, PayloadError, UnreadableMessage

_MISSING_IN_SCHEMA = ("42P01", "42703")  # undefined table, undefined column
_BAD_INPUT = (
    ContractError,
    InvalidJob,
    KeyringError,
    LedgerConfigurationError,
    PayloadError,
    UnreadableMessage,
)
# By name: importing them would bring in cronsim and Dramatiq, which `penstock relay` runs without.
_BAD_INPUT_NAMES = ("CronError", "WorkerConfigurationError")
_PROBLEM_NAMES = ("ScheduleRefused",)


def explain(error: Exception) -> Failure:  # noqa: C901 - one case after another
    """The failure that this error amounts to."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, _BAD_INPUT) or type(error).__name__ in _BAD_INPUT_NAMES:
        return bad_input(str(error))
    if isinstance(error, ValidationError):
        return bad_input(_settings_text(error))
    if isinstance(error, SchemaUnfit | OutboxMissing) or type(error).__name__ in _PROBLEM_NAMES:
        return problem(str(error))
    if isinstance(error, LedgerUnavailable | OutboxUnavailable):
        return unreachable(str(error))
    if isinstance(error, DBAPIError):
        return _explain_database(error)
    if isinstance(error, KeyConflict | Unroutable | PublishRefused):
        return problem(str(error))
    if isinstance(error, PublishError):
        return unreachable(str(error))
    if isinstance(error, pika.exceptions.AMQPError):
        return unreachable(broker_text(ConsoleSettings().broker_url, error))
    if isinstance(error, OSError):
        return problem(f"{error.strerror or type(error).__name__}{f': {error.filename}' if error.filename else ''}")
    return _bug(error)


def broker_text(url: str, error: Exception) -> str:
    """Why RabbitMQ cannot be used, in its own words where it has said so, never with the password."""
    endpoint = Endpoint.read(url, name="penstock")
    why = endpoint.refusal(error) or f"{describe(error)}. Check PENSTOCK_BROKER_URL and that RabbitMQ is up"
    return f"cannot use RabbitMQ at {endpoint}: {why}"


def _explain_database(error: DBAPIError) -> Failure:
    said = str(error.orig).partition("\n")[0]
    if sqlstate(error) in _MISSING_IN_SCHEMA or said.startswith(("no such table", "no such column")):
        return problem("the ledger does not have the tables of this release: run `penstock migrate`")
    if is_disconnect(error):
        return unreachable(f"the connection to the ledger was lost: {said}. Run the command again")
    return problem(f"the ledger's database refused: {said}")


def _settings_text(error: ValidationError) -> str:
    problems = error.errors(include_input=False, include_context=False, include_url=False)
    return "; ".join(f"PENSTOCK_{'.'.join(map(str, item['loc'])).upper()}: {item['msg']}" for item in problems)


def _bug(error: Exception) -> Failure:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return Failure(
        f"penstock itself failed: {type(error).__name__}{where}. "
        "PENSTOCK_LOG_LEVEL=DEBUG shows the whole story, for a report",
        code=Code.BUG,
    )
