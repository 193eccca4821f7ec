"""What the gateways of these tests know."""

from datetime import timedelta

from pydantic import ConfigDict

from penstock.schemas import Job

# JSON Schema has no word for what pydantic else takes as a number, too.
STRICT = ConfigDict(strict=True)


class AddRow(Job, type="demo.add_row", queue="demo"):
    """Version 1."""

    model_config = STRICT

    n: int
    note: str = ""


class AddRowTwo(Job, type="demo.add_row", queue="demo", version=2):
    """Version 2 needs one field more."""

    model_config = STRICT

    n: int
    m: int
    note: str = ""


class Once(Job, type="mails.once", queue="mails", guarantee="at_most_once", unique_for=timedelta(days=1)):
    """Runs once at most."""

    to: str
