"""One dispatcher at a time saves double work. It is no more than that: two of them do no harm."""

from penstock.ledger.database import Session, Statement


def take_lease(session: Session, *, name: str, holder: str, seconds: float) -> bool:
    """Take or renew the lease; false while somebody else's has not run out on the database clock."""
    with session.transaction():
        session.run(_OFFER, name=name, holder=holder)
        return session.run(_TAKE, name=name, holder=holder, seconds=seconds).rowcount == 1


def give_lease_back(session: Session, *, name: str, holder: str) -> None:
    session.run(_GIVE_BACK, name=name, holder=holder)


_OFFER = Statement(
    lambda dialect: (
        f"""
        INSERT INTO leases (name, holder, expires_at) VALUES (:name, :holder, {dialect.now}) ON CONFLICT DO NOTHING
    """
    )
)

_TAKE = Statement(
    lambda dialect: (
        f"""
        UPDATE leases SET holder = :holder, expires_at = {dialect.later(":seconds")}
        WHERE name = :name AND (holder = :holder OR expires_at <= {dialect.now})
    """
    )
)

_GIVE_BACK = Statement(lambda _: "DELETE FROM leases WHERE name = :name AND holder = :holder")
