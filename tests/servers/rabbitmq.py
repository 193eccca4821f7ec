"""A RabbitMQ of our own, to be killed, restarted and emptied as a test pleases."""

import os
import shutil
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pika
from pika.exceptions import AMQPError
from tests.servers.binaries import epmd_program, rabbitmq_folder
from tests.servers.errors import ServerError
from tests.servers.leash import Leashed
from tests.servers.ports import free_port, is_listening
from tests.servers.rabbitmqctl import Rabbitmqctl
from tests.waiting import until

START_SECONDS_MAX = 90.0
NODE = "penstock@localhost"
COOKIE = "penstock-tests"
ERLANG_ARGUMENTS = "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none +S 1:1"

# What an accident with the disk leaves behind: the same virtual hosts and users, and nothing in them.
WIPE = """
[begin
   ok = rabbit_vhost:delete(Host, <<"tests">>),
   rabbit_vhost:add(Host, <<"tests">>),
   rabbit_auth_backend_internal:set_permissions(<<"guest">>, Host, <<".*">>, <<".*">>, <<".*">>, <<"tests">>)
 end || Host <- rabbit_vhost:list_names()].
"""


class PrivateRabbitMQ:
    """One RabbitMQ node with a port mapper of its own: `with PrivateRabbitMQ() as rabbitmq: ...`.

    Starting takes 5 to 16 seconds. `plugins` may name `rabbitmq_management` and `rabbitmq_prometheus`, which then
    listen on `management_port` and `prometheus_port`. `configuration` are further lines of its rabbitmq.conf; where
    they bring users of their own, there is no guest, and `user` is the one to connect as.
    """

    def __init__(
        self,
        *,
        plugins: Sequence[str] = (),
        configuration: Sequence[str] = (),
        user: str = "guest:guest",
        node: str = NODE,
        cluster: Sequence[str] = (),
        epmd_port: int | None = None,
    ) -> None:
        """`cluster` names all nodes that this one belongs together with; they share the port mapper of the first."""
        programs, epmd = rabbitmq_folder(), epmd_program()
        if programs is None or epmd is None:
            raise ServerError("RabbitMQ is not installed; install the package `rabbitmq-server`")
        self._programs = programs
        self._epmd_program = epmd
        self._plugins = plugins
        self._configuration = configuration
        self._user = user
        self.node = node
        self._cluster = cluster
        self._has_own_epmd = epmd_port is None
        self._port, self._distribution_port, self.epmd_port = free_port(), free_port(), epmd_port or free_port()
        self.management_port, self.prometheus_port = free_port(), free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="penstock-rabbitmq-"))
        self._epmd: Leashed | None = None
        self._process: Leashed | None = None
        self._write_configuration()

    @property
    def url(self) -> str:
        """The address of its virtual host `/`, for the user guest unless said otherwise."""
        return f"amqp://{self._user}@127.0.0.1:{self._port}/%2F"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return "127.0.0.1", self._port

    def start(self) -> None:
        """Start it, with whatever it had on disk, and return once it answers. Does nothing when it runs."""
        self.begin_start()
        self.await_start()

    def await_start(self) -> None:
        """Return once it answers."""
        until(self._answers, timeout_seconds=START_SECONDS_MAX, what=f"RabbitMQ on port {self._port} to answer")

    def begin_start(self) -> None:
        """Start it without waiting, as nodes of a cluster do that wait for each other."""
        if self.is_running():
            return
        self._start_epmd()
        self._process = Leashed(
            [self._programs / "rabbitmq-server"],
            folder=self._folder,
            log=self._folder / "log",
            environment=self._environment(),
        )

    def stop(self) -> None:
        """Stop it in an orderly way."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it: what it had confirmed is on disk, the rest is gone."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def wipe(self) -> None:
        """Empty it: every queue, message, exchange and policy is gone and every client is disconnected."""
        self.ctl("eval", WIPE)

    def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl`, which takes about a second, and return what it printed."""
        return self.rabbitmqctl.run(*arguments)

    @property
    def rabbitmqctl(self) -> Rabbitmqctl:
        """What speaks to this node."""
        return Rabbitmqctl(command=[str(self._programs / "rabbitmqctl")], environment=self._environment())

    def is_running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.is_running()

    def close(self) -> None:
        """Kill it and its port mapper, and delete its data."""
        self.kill()
        if self._epmd is not None:
            self._epmd.stop(signal.SIGKILL)
            self._epmd = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _write_configuration(self) -> None:
        home = self._folder / "home"
        home.mkdir()
        cookie = home / ".erlang.cookie"
        cookie.write_text(COOKIE)
        cookie.chmod(0o600)
        lines = [f"listeners.tcp.1 = 127.0.0.1:{self._port}", "disk_free_limit.absolute = 50MB"]
        for plugin, port in (("management", self.management_port), ("prometheus", self.prometheus_port)):
            if f"rabbitmq_{plugin}" in self._plugins:
                lines += [f"{plugin}.tcp.ip = 127.0.0.1", f"{plugin}.tcp.port = {port}"]
        lines += self._configuration
        if self._cluster:
            lines += ["cluster_formation.peer_discovery_backend = classic_config"]
            lines += [f"cluster_formation.classic_config.nodes.{n} = {it}" for n, it in enumerate(self._cluster, 1)]
            lines += ["cluster_partition_handling = pause_minority"]
        (self._folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (self._folder / "enabled_plugins").write_text(f"[{','.join(self._plugins)}].\n")
        (self._folder / "advanced.config").write_text("[].\n")

    def _environment(self) -> dict[str, str]:
        folder = self._folder
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(folder / "home"),
            # The script then becomes the server instead of waiting for it, so that signals reach it.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_ARGUMENTS,
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def _start_epmd(self) -> None:
        if not self._has_own_epmd or (self._epmd is not None and self._epmd.is_running()):
            return
        words = ["-port", str(self.epmd_port), "-address", "127.0.0.1"]
        self._epmd = Leashed([self._epmd_program, *words], folder=self._folder, log=self._folder / "epmd.log")
        until(lambda: is_listening(self.epmd_port), what="Erlang's port mapper to listen")

    def _answers(self) -> bool:
        if self._process is not None and not self._process.is_running():
            raise ServerError(f"RabbitMQ ended while it started:\n{self._process.last_words()}")
        if not is_listening(self._port):
            return False
        try:
            pika.BlockingConnection(pika.URLParameters(self.url)).close()
        except AMQPError:
            return False
        return True

    def _end(self, signal_: signal.Signals) -> None:
        if self._process is not None:
            self._process.stop(signal_)
            self._process = None
