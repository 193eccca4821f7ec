"""What of Postgres decides whether a receipt is worth its name."""

from ipaddress import ip_address
from typing import Any

from sqlalchemy import text

from penstock.console.doctor.finding import Finding, ok, problem, warning
from penstock.ledger.database import Session

VERSION_MIN = 130_000
USED_WARN = 0.8


def check(session: Session) -> list[Finding]:
    """Version, durability, standby, encryption, room for connections."""
    return [_version(session), _durability(session), _standby(session), _encryption(session), _connections(session)]


def _version(session: Session) -> Finding:
    number, name = int(_setting(session, "server_version_num")), _setting(session, "server_version")
    if number < VERSION_MIN:
        return problem("postgres", f"version {name}", "upgrade to Postgres 13 or newer")
    return ok("postgres", f"version {name}")


def _durability(session: Session) -> Finding:
    """Without these a commit may be gone after a crash of the server: a receipt for nothing.

    Whether commits are synchronous is not asked: sessions of the ledger's see to that themselves.
    """
    off = [name for name in ("fsync", "full_page_writes") if _setting(session, name) == "off"]
    if off:
        remedy = " and ".join(f"set {name} = on" for name in off)
        return problem("durability", f"off: {', '.join(off)}; a crash of Postgres can lose receipts", remedy)
    return ok("durability", "fsync and full_page_writes are on")


def _standby(session: Session) -> Finding:
    names = _setting(session, "synchronous_standby_names").strip()
    lost = "a failover that loses commits loses jobs"
    if not names:
        remedy = "for high availability run one, and set synchronous_standby_names"
        return warning("standby", f"no synchronous standby: {lost}", remedy)
    query = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"
    standbys = _scalar(session, query)
    if not standbys:
        remedy = "look at pg_stat_replication (as a member of pg_monitor): without a standby commits wait for ever"
        return warning("standby", f"synchronous_standby_names is {names!r}, but none is seen", remedy)
    return ok("standby", f"{standbys} synchronous")


def _encryption(session: Session) -> Finding:
    row = session.connection.execute(
        text(
            "SELECT coalesce(ssl.ssl, false) AS ssl, host(inet_server_addr()) AS address "
            "FROM (SELECT pg_backend_pid() AS pid) me LEFT JOIN pg_stat_ssl ssl USING (pid)"
        )
    ).one()
    if row.ssl:
        return ok("encryption", "the connection to the database is encrypted")
    if row.address is None or ip_address(row.address).is_loopback:
        return ok("encryption", "none needed: the database is on this host")
    remedy = "add ?sslmode=verify-full to PENSTOCK_DATABASE_URL"
    return warning("encryption", "the connection to the database is not encrypted", remedy)


def _connections(session: Session) -> Finding:
    used, most = (
        int(_scalar(session, "SELECT count(*) FROM pg_stat_activity")),
        int(_setting(session, "max_connections")),
    )
    detail = f"{used} of {most} connections in use"
    if used > USED_WARN * most:
        return warning("connections", detail, "raise max_connections, or run fewer threads and processes")
    return ok("connections", detail)


def _setting(session: Session, name: str) -> str:
    return str(_scalar(session, "SELECT current_setting(:name)", name=name))


def _scalar(session: Session, query: str, **values: Any) -> Any:
    return session.connection.execute(text(query), values).scalar_one()
