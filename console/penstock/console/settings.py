"""What the command needs to know, from the environment or `.env`."""

import getpass
import os

from pydantic import SecretStr

from penstock.console.exits import bad_input
from penstock.ledger.settings import LedgerSettings
from penstock.schemas import Keyring

ACTOR_LENGTH_MAX = 255


class ConsoleSettings(LedgerSettings):
    """`PENSTOCK_ACTOR` is who does things, for the audit; `PENSTOCK_MANAGEMENT_URL` lets `doctor` see bindings.

    `PENSTOCK_KEYRING` seals the sensitive fields of what is published.

    `PENSTOCK_BROKER_URL` is `local` or `amqp://…`, as in `WorkerSettings`, which takes longer to import.
    """

    broker_url: str = "local"
    management_url: str | None = None
    actor: str | None = None
    keyring: SecretStr | None = None

    @property
    def has_broker(self) -> bool:
        return self.broker_url != "local"


def keyring_of(setting: SecretStr | None) -> Keyring | None:
    """The keys of sensitive fields, if there are any; raises `KeyringError`."""
    return None if setting is None else Keyring.parse(setting.get_secret_value())


def actor_of(option: str | None) -> str:
    """Who is at the keyboard: the option, the setting, or the user of the operating system."""
    actor = option or ConsoleSettings().actor or _os_user()
    if not actor.isprintable() or len(actor) > ACTOR_LENGTH_MAX:
        raise bad_input(f"--actor must be printable, at most {ACTOR_LENGTH_MAX} characters")
    return actor


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number without a name
        return f"uid {os.getuid()}"
