"""What a mail may be, before any server sees it."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from penstock.notifications import SendEmail
from penstock.schemas import PayloadError

IMPORT = (
    "import sys; from penstock.notifications import SendEmail; "
    "print([name for name in ('sqlalchemy', 'dramatiq', 'pydantic_settings') if name in sys.modules])"
)


@pytest.mark.parametrize(
    "address",
    ["ada@example.org", "a.b+tag@mail.example.co.uk", "o'brien@example.org", "x@xn--bcher-kva.example"],
)
def test_plain_addresses_are_accepted(address: str) -> None:
    """What a form on a web page collects."""
    assert SendEmail(to=address, subject="s", text="t").to == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ada",
        "ada@",
        "@example.org",
        "ada@localhost",
        "ada@example..org",
        ".ada@example.org",
        "ada.@example.org",
        "ada@-example.org",
        "Ada <ada@example.org>",
        "ada@example.org, bob@example.org",
        "ada@example.org\r\nBcc: bob@example.org",
        "ada@example.org\n",
        "ada@[127.0.0.1]",
        '"a b"@example.org',
        "ädä@example.org",
        "a" * 65 + "@example.org",
        "a@" + "b." * 130 + "org",
    ],
)
def test_anything_else_is_refused_as_an_address(address: str) -> None:
    """One recipient, and nothing that could be more than an address."""
    with pytest.raises(ValidationError, match="must be one plain e-mail address"):
        SendEmail(to=address, subject="s", text="t")
    with pytest.raises(ValidationError, match="must be one plain e-mail address"):
        SendEmail(to="ada@example.org", subject="s", text="t", reply_to=address)


@pytest.mark.parametrize("subject", ["a\r\nBcc: x@example.org", "a\nb", "a\rb", "a\x00b", "a\u2028b", "a\x85b"])
def test_a_subject_cannot_add_a_header(subject: str) -> None:
    """It is one line, in every alphabet's idea of a line."""
    with pytest.raises(ValidationError, match="must be one line"):
        SendEmail(to="ada@example.org", subject=subject, text="t")


def test_a_refusal_names_the_field_and_not_the_value() -> None:
    """It ends in logs and dead letters."""
    with pytest.raises(PayloadError) as caught:
        SendEmail.from_body(b'{"to":"secret","subject":"s","text":"t"}')
    assert caught.value.field == "to"
    assert "secret" not in str(caught.value)


def test_a_service_that_only_publishes_mails_imports_nothing_of_the_engine() -> None:
    """The contract is light; the handler is a module of its own."""
    done = subprocess.run([sys.executable, "-c", IMPORT], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
