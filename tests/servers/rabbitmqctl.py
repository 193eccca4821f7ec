"""`rabbitmqctl` of one RabbitMQ: words and environment, which another test process can be told."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.servers.errors import ServerError

SECONDS_MAX = 180.0  # it takes one; beside others who keep the processors busy it has taken more than thirty


@dataclass(frozen=True, kw_only=True)
class Rabbitmqctl:
    """`command` comes before whatever it is to do; `environment` is None for ours."""

    command: Sequence[str]
    environment: Mapping[str, str] | None = None

    def run(self, *arguments: str) -> str:
        """What it printed, which takes about a second; raises ServerError with that when it fails."""
        try:
            done = subprocess.run(
                [*self.command, "-q", *arguments],
                env=self.environment,
                check=False,
                capture_output=True,
                text=True,
                timeout=SECONDS_MAX,
            )
        except subprocess.TimeoutExpired as error:
            raise ServerError(str(error)) from error
        if done.returncode:
            raise ServerError(f"rabbitmqctl {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def evaluate(self, expression: str) -> str:
        """The value of an Erlang expression, as text."""
        return self.run("eval", expression)


def rabbitmqctl_of_this_machine() -> Rabbitmqctl | None:
    """That of the RabbitMQ that is installed here, which need not be the one that the tests use."""
    program = shutil.which("rabbitmqctl")
    return None if program is None else Rabbitmqctl(command=[program])
