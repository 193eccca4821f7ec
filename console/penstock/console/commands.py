"""The group of all commands: whatever they raise becomes one line on stderr and an exit code."""

# ruff: noqa: PLC0415 - reasons for a failure are looked up when there is one

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from penstock.console.exits import Code, Failure, bad_input, problem


class Commands(TyperGroup):
    """Says how a command has ended, and ends with its code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Runs a command and exits."""
        kwargs["standalone_mode"] = False
        try:
            result = super().main(*args, **kwargs)
        except typer.Abort:
            typer.echo(err=True)  # the question stands on a line of its own
            _say(problem("stopped; where nobody can answer, give --yes"))
        except typer.TyperException as error:
            _say_usage(error)
        except Exception as error:
            from penstock.console.failures import explain

            failure = explain(error)
            _say(failure)
            if failure.code is Code.BUG and os.environ.get("PENSTOCK_LOG_LEVEL", "").upper() == "DEBUG":
                raise
            sys.exit(failure.code)
        sys.exit(result if isinstance(result, int) else Code.DONE)


def _say_usage(error: typer.TyperException) -> None:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":  # the help has been printed
        sys.exit(Code.BAD_INPUT)
    see = f" See `{context.command_path} --help`." if context is not None else ""
    said = error.format_message().rstrip(".")
    _say(bad_input(f"{said}{'' if said.endswith('?') else '.'}{see}"))


def _say(failure: Failure) -> None:
    from penstock.console.printing import one_line

    typer.echo(f"{typer.style('error:', fg='red')} {one_line(str(failure))}", err=True)
    if failure.code is not Code.BUG:
        sys.exit(failure.code)
