"""How a command ends: with a code that means something and, where it went wrong, one line that says what to do."""

from enum import IntEnum


class Code(IntEnum):
    """What the exit code of every command says."""

    DONE = 0
    PROBLEM = 1  # something is wrong, refused or not there
    BAD_INPUT = 2  # an option, an argument or a setting
    UNREACHABLE = 3  # a server does not answer
    BUG = 70  # penstock itself failed; EX_SOFTWARE of sysexits.h


class Failure(Exception):
    """Ends the command with this line on stderr and this code."""

    def __init__(self, text: str, *, code: Code) -> None:
        self.code = code
        super().__init__(text)


def problem(text: str) -> Failure:
    return Failure(text, code=Code.PROBLEM)


def bad_input(text: str) -> Failure:
    return Failure(text, code=Code.BAD_INPUT)


def unreachable(text: str) -> Failure:
    return Failure(text, code=Code.UNREACHABLE)
