"""The query string: a parameter that is misspelled must not be as good as none."""

from collections.abc import Collection
from urllib.parse import parse_qsl

from penstock.producers.gateway.problems import invalid


def check_query(query: bytes, known: Collection[str]) -> None:
    """Each parameter must be known and stand once; raises `Problem`."""
    names = [name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)]
    if not set(names) <= set(known):
        remedy = f"known are {', '.join(sorted(known))}" if known else "leave it out"
        raise invalid([("(query)", f"has a parameter that is not known here; {remedy}")])
    for name in known:
        if names.count(name) > 1:
            raise invalid([(name, "stands more than once; send it once")])
