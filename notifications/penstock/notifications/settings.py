"""Where mail goes out, from the environment or `.env`."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from penstock.notifications.address import check_address
from penstock.notifications.email import check_one_line


class NotificationSettings(BaseSettings):
    """`PENSTOCK_SMTP_URL` is `smtp://host:port` (plain), `smtp+starttls://host:port` or `smtps://host:port`.

    User and password have settings of their own, because addresses end in logs. `PENSTOCK_SMTP_CA_FILE` adds the
    certificate of a private authority; certificates are always checked.
    `PENSTOCK_SMTP_REPLY_SECONDS` is how long to wait for the answer to the mail itself. RFC 5321, section
    4.5.3.2.6, asks for patience there: who gives up early does not know whether the mail was taken.
    """

    model_config = SettingsConfigDict(env_prefix="PENSTOCK_", env_file=".env", extra="ignore")

    smtp_url: str = "smtp://127.0.0.1:25"
    smtp_user: str | None = None
    smtp_password: SecretStr | None = None
    smtp_sender: Annotated[str, AfterValidator(check_address)] = "penstock@localhost.localdomain"
    smtp_sender_name: Annotated[str, AfterValidator(check_one_line)] | None = None
    smtp_ca_file: Path | None = None
    smtp_timeout_seconds: float = Field(default=20.0, gt=0, le=60)
    smtp_reply_seconds: float = Field(default=120.0, gt=0, le=200)
