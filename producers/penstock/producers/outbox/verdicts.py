"""What follows from the error of a publish: pure decisions."""

from penstock.producers.client import InvalidJob, PublishError, PublishRefused, PublishTimeout, Unroutable


def is_fault_of_the_row(error: PublishError) -> bool:
    """The broker is well and will not take this one: it is held, and the others go on."""
    return isinstance(error, InvalidJob | PublishRefused | Unroutable)


def is_fault_of_the_type(error: PublishError) -> bool:
    """No confirm within the deadline: others of its type would wait for as long. Anything else is the broker's."""
    return isinstance(error, PublishTimeout)


def reason_of(error: PublishError) -> str:
    """What is wrong and the remedy, without the id, which stands beside it."""
    return str(error).removeprefix(f"job {error.job_id}: ")
