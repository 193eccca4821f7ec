"""A RabbitMQ with the settings, users and policies of `deploy/rabbitmq`."""

from tests.deploy.files import DEPLOY
from tests.servers.rabbitmq import PrivateRabbitMQ

FOLDER = DEPLOY / "rabbitmq"
USER = "penstock:penstock"
# Ports and folders of the container; a private server has its own.
OF_THE_CONTAINER = ("listeners.tcp.", "management.tcp.", "prometheus.tcp.", "definitions.local.path")


def deployed_rabbitmq() -> PrivateRabbitMQ:
    """Not started yet."""
    plugins = (FOLDER / "enabled_plugins").read_text().strip("[]. \n").split(",")
    return PrivateRabbitMQ(plugins=plugins, configuration=settings(), user=USER)


def settings() -> list[str]:
    """The lines of rabbitmq.conf that hold on any machine, and where the definitions are on this one."""
    lines = (line.strip() for line in (FOLDER / "rabbitmq.conf").read_text().splitlines())
    kept = [line for line in lines if line and not line.startswith(("#", *OF_THE_CONTAINER))]
    return [*kept, f"definitions.local.path = {FOLDER / 'definitions.json'}"]
