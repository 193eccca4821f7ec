"""What a handler may raise to say what should follow, and what stops a worker from starting."""


class Permanent(Exception):
    """No retry will help: the job becomes a dead letter now, with reason `permanent`."""


class OutcomeUnknown(Exception):
    """An external effect may or may not have happened; the job is parked as dead with reason `outcome_unknown`."""


class WorkerConfigurationError(ValueError):
    """A worker cannot start like this; the text names the option and the remedy."""


class Interruption(BaseException):
    """A signal from the context to the engine. Not an `Exception`, so that a handler's `except Exception`
    does not swallow it."""


class Snoozed(Interruption):
    """Run again after `seconds`, without using up an attempt."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(seconds)


class JobCancelled(Interruption):
    """Somebody asked to cancel the job and the handler complied."""


class LedgerLost(Interruption):
    """The ledger was lost under the handler, or refused the engine's own statement: nothing was written, and it is
    nobody's fault."""


class RunAgain(Interruption):
    """A COMMIT was lost on its way and did not land: the same claim runs again."""
