"""What can be wrong with a contract, a payload or a message on the wire."""


class ContractError(TypeError):
    """A job class, a handler or a set of them was declared wrongly; found when the program starts."""


class PayloadError(ValueError):
    """A payload does not fit its contract.

    `field` is the dotted path of the first offending field, `remedy` what would make it right.
    The text names fields and rules only, never the values.
    """

    def __init__(
        self, job_type: str, version: int, problems: list[tuple[str, str]], *, upcast_to: int | None = None
    ) -> None:
        self.problems = problems
        self.field = problems[0][0]
        listed = "; ".join(f"field '{field}': {problem}" for field, problem in problems)
        upcast = "" if upcast_to is None else f", upcast to v{upcast_to},"
        super().__init__(f"payload of {job_type} v{version}{upcast} does not fit its contract: {listed}")


class UnreadableMessage(ValueError):
    """A delivery that breaks the wire format; it goes to quarantine with this reason.

    `part` names the AMQP property, header or body that is wrong. The body itself is never in the text.
    """

    def __init__(self, part: str, problem: str) -> None:
        self.part = part
        super().__init__(f"{part} {problem}")
