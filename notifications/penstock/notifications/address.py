"""Which e-mail addresses are accepted."""

import re

ADDRESS_LENGTH_MAX = 254  # RFC 5321, section 4.5.3.1.3, without the angle brackets
LOCAL_LENGTH_MAX = 64

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"(?P<local>{_ATOM}(?:\.{_ATOM})*)@{_LABEL}(?:\.{_LABEL})+")


def check_address(address: str) -> str:
    """A plain `local@domain` in ASCII: the dot-atom form of RFC 5322, with a domain of at least two labels.

    No display name, comment, quoted part or address literal; an international domain in its `xn--` form. The text
    of the `ValueError` does not repeat the address.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or len(address) > ADDRESS_LENGTH_MAX or len(match["local"]) > LOCAL_LENGTH_MAX:
        raise ValueError("must be one plain e-mail address like ada@example.org")
    return address


def domain_of(address: str) -> str:
    return address.rpartition("@")[2]
