"""The names of all settings. One that is misspelt would be passed over in silence, and a default taken in its place."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

from dotenv import dotenv_values

from penstock.console.exits import bad_input

PREFIX = "PENSTOCK_"
# Of all rooms, without importing them; a test holds this against their settings.
NAMES = (
    *("DATABASE_URL", "BROKER_URL", "OUTBOX_DATABASE_URL", "REDIS_URL", "MANAGEMENT_URL", "KEYRING", "ACTOR"),
    *("STATE_DIR", "GRACE_SECONDS", "LOG_LEVEL", "METRICS_HOST"),
    *("ACCEPT_INTO_BROKER", "JWKS_URL", "JWT_ISSUER", "JWT_AUDIENCE", "JWT_TENANT_CLAIM"),
    *("RATE_PER_MINUTE", "GATEWAYS"),
    *("SMTP_URL", "SMTP_USER", "SMTP_PASSWORD", "SMTP_SENDER", "SMTP_SENDER_NAME", "SMTP_CA_FILE"),
    *("SMTP_TIMEOUT_SECONDS", "SMTP_REPLY_SECONDS", "PIPELINE_DIR"),
)
# One letter of nine, two of fifteen. Others may have names of their own that begin like ours, as Kubernetes does.
LIKENESS_MIN = 0.88


def check_setting_names() -> None:
    """Look through the environment and `.env`; raises a `Failure` that says which name was meant."""
    check_names([*os.environ, *(dotenv_values(".env") if Path(".env").is_file() else ())])


def check_names(given: Iterable[str]) -> None:
    """Raises a `Failure` for the first name that is no setting, but nearly one."""
    for name in given:
        ending = name.upper().removeprefix(PREFIX)
        if ending == name.upper() or ending in NAMES:
            continue
        meant = difflib.get_close_matches(ending, NAMES, n=1, cutoff=LIKENESS_MIN)
        if meant:
            raise bad_input(f"{name} is no setting; {PREFIX}{meant[0]} is one. Rename it, or take it away")
