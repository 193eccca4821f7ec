"""What the tests run on: real servers, found or started once per session, and something clean in them for each test."""

import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client import values
from tests import side_by_side
from tests.servers.databases import Databases
from tests.servers.discovery import POSTGRES, RABBITMQ, REDIS, Found, Kind, find
from tests.servers.errors import NoServerError, ServerError
from tests.servers.postgres import PrivatePostgres
from tests.servers.probes import rabbitmq_refusal
from tests.servers.prometheus import Programs, find_programs
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.servers.rabbitmqctl import rabbitmqctl_of_this_machine
from tests.servers.redis import PrivateRedis
from tests.servers.redis_databases import RedisDatabase
from tests.servers.virtual_hosts import ByManagement, ByRabbitmqctl, Maker, OnlyTheOneGiven, VirtualHosts, user_of

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ONE_VIRTUAL_HOST = "nobody may make virtual hosts on this RabbitMQ; remedy: make test PROCESSES=1, or pytest without -n"
servers_found = pytest.StashKey[dict[str, Found]]()
servers_used = pytest.StashKey[dict[str, str]]()


@pytest.fixture(autouse=True)
def _figures_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes metrics into files decides that for the whole process, and so for the tests that follow."""
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """The SQLAlchemy address of an empty Postgres database."""
    url = databases.create()
    yield url
    databases.drop(url)


@pytest.fixture
def migrated_database_url(databases: Databases) -> Iterator[str]:
    """The SQLAlchemy address of a Postgres database with the ledger's tables and no rows."""
    url = databases.create_migrated(_migrate)
    yield url
    databases.drop(url)


@pytest.fixture
def sqlite_url(migrated_sqlite_file: Path, tmp_path: Path) -> str:
    """The SQLAlchemy address of an SQLite file with the ledger's tables and no rows."""
    file = tmp_path / "ledger.db"
    shutil.copyfile(migrated_sqlite_file, file)
    return f"sqlite:///{file}"


@pytest.fixture(params=["postgres", "sqlite"])
def ledger_url(request: pytest.FixtureRequest) -> str:
    """The address of a migrated ledger, once for each kind of database that must behave the same."""
    fixture = {"postgres": "migrated_database_url", "sqlite": "sqlite_url"}[request.param]
    return str(request.getfixturevalue(fixture))


@pytest.fixture
def broker_url(virtual_hosts: VirtualHosts | OnlyTheOneGiven) -> str:
    """The AMQP address of a virtual host that is empty."""
    return virtual_hosts.next_url()


@pytest.fixture
def redis_url(redis_database: RedisDatabase) -> str:
    """The address of a Redis database that is empty but for the key that marks it as ours."""
    redis_database.clear()
    return redis_database.url


@pytest.fixture
def private_postgres(postgres_of_session: PrivatePostgres) -> PrivatePostgres:
    """A running Postgres that the test may stop; `create_database()` gives a database of its own."""
    postgres_of_session.start()
    return postgres_of_session


@pytest.fixture
def private_rabbitmq(rabbitmq_of_session: PrivateRabbitMQ) -> Iterator[PrivateRabbitMQ]:
    """A running, empty RabbitMQ that the test may kill and wipe."""
    rabbitmq_of_session.start()
    yield rabbitmq_of_session
    rabbitmq_of_session.start()
    rabbitmq_of_session.wipe()


@pytest.fixture
def private_redis() -> Iterator[PrivateRedis]:
    """A running, empty Redis that the test may kill."""
    with PrivateRedis() as redis:
        yield redis


@pytest.fixture(scope="session")
def databases(pytestconfig: pytest.Config) -> Iterator[Databases]:
    """Postgres databases, to be made and dropped."""
    databases = Databases(url=_find(POSTGRES, pytestconfig).url)
    yield databases
    databases.close()


@pytest.fixture(scope="session")
def migrated_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file to copy, migrated once."""
    file = tmp_path_factory.mktemp("sqlite") / "ledger.db"
    _migrate(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def virtual_hosts(pytestconfig: pytest.Config) -> Iterator[VirtualHosts | OnlyTheOneGiven]:
    """RabbitMQ virtual hosts, to be used once each."""
    hosts = virtual_hosts_on(_find(RABBITMQ, pytestconfig))
    if isinstance(hosts, OnlyTheOneGiven):
        if side_by_side.processes(pytestconfig) > 1:
            raise ServerError(ONE_VIRTUAL_HOST)
        pytestconfig.stash[servers_used]["RabbitMQ"] += "; no way to make virtual hosts there, so all tests share one"
    yield hosts
    hosts.close()


@pytest.fixture(scope="session")
def redis_database(pytestconfig: pytest.Config) -> Iterator[RedisDatabase]:
    """A Redis database that is ours for the session."""
    database = RedisDatabase(url=_find(REDIS, pytestconfig).url)
    yield database
    database.close()


@pytest.fixture(scope="session")
def postgres_of_session() -> Iterator[PrivatePostgres]:
    """The Postgres behind `private_postgres`."""
    with PrivatePostgres() as postgres:
        yield postgres


@pytest.fixture(scope="session")
def rabbitmq_of_session() -> Iterator[PrivateRabbitMQ]:
    """The RabbitMQ behind `private_rabbitmq`: one for all tests, since a start takes up to 16 seconds."""
    with PrivateRabbitMQ() as rabbitmq:
        yield rabbitmq


def pytest_configure(config: pytest.Config) -> None:
    """Remember which servers are used, also for the report."""
    _take_time_for_examples()
    given = side_by_side.join(config)
    config.stash[servers_found] = {name: Found.of_another(it) for name, it in given.items()}
    config.stash[servers_used] = {name: found.where for name, found in config.stash[servers_found].items()}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which servers the tests ran on."""
    for name, where in config.stash[servers_used].items():
        terminalreporter.write_line(f"{name}: {where}")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Find, and perhaps install and start, what the processes of this session share, before there is any of them."""
    servers = {kind.name: _find(kind, node.config).told() for kind in (POSTGRES, RABBITMQ, REDIS)}
    prometheus(node.config)
    side_by_side.tell(node, servers)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test that measures has the machine to itself."""
    with side_by_side.passed(item):
        return (yield)


def prometheus(config: pytest.Config) -> Programs:
    """Prometheus and promtool."""
    cache = config.cache
    assert cache is not None
    try:
        found = find_programs(Path(cache.mkdir("prometheus")))
    except NoServerError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
    config.stash[servers_used].setdefault("Prometheus", found.where)
    return found


def _find(kind: Kind, config: pytest.Config) -> Found:
    """The server of this session, found when it is first asked for, and ended with the session."""
    found = config.stash[servers_found].get(kind.name)
    if found is None:
        try:
            found = find(kind)
        except NoServerError as error:
            pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
        config.stash[servers_found][kind.name] = found
        config.stash[servers_used][kind.name] = found.where
        config.add_cleanup(found.close)
    return found


def virtual_hosts_on(found: Found) -> VirtualHosts | OnlyTheOneGiven:
    for maker in _makers(found):
        hosts = VirtualHosts(url=found.url, maker=maker)
        try:
            refusal = rabbitmq_refusal(hosts.next_url())
        except ServerError:
            continue
        if refusal is None:
            return hosts
        hosts.close()  # made on another server than the one at the url
    return OnlyTheOneGiven(url=found.url)


def _makers(found: Found) -> Iterator[Maker]:
    address = urlsplit(found.url)
    user, password = user_of(found.url)
    if found.rabbitmqctl is not None:
        yield ByRabbitmqctl(rabbitmqctl=found.rabbitmqctl, user=user, port=None)
    ours = rabbitmqctl_of_this_machine()
    if ours is not None and address.hostname in LOOPBACK:
        yield ByRabbitmqctl(rabbitmqctl=ours, user=user, port=address.port or RABBITMQ.port)
    yield ByManagement(address=f"http://{address.hostname}:15672", user=user, password=password)


def _migrate(url: str) -> None:
    from penstock.ledger.migrations import migrate

    migrate(url)


def _take_time_for_examples() -> None:
    """How long one takes is the machine's affair, which may have others to serve."""
    from hypothesis import HealthCheck, settings  # the benchmarks, which use what is above, do without it

    settings.register_profile("loaded", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("loaded")
