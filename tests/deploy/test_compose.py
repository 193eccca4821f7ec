"""`docker-compose.yml` and the Dockerfile, as far as they can be held against what is really there."""

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.deploy.commands import VARIABLES, VERSION, parsed
from tests.deploy.files import DEPLOY, REPOSITORY, read_yaml
from tests.servers import debian

from penstock.workers import Registry

COMPOSE = read_yaml(REPOSITORY / "docker-compose.yml")
SERVICES: dict[str, Any] = COMPOSE["services"]
ONCE = ("migrate", "outbox")
OURS = {name: it for name, it in SERVICES.items() if it["image"].startswith("penstock:")}
DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SCHEMA = Path("usr/lib/python3/dist-packages/compose/config/compose_spec.json")


@pytest.fixture(scope="module")
def schema(pytestconfig: pytest.Config) -> dict[str, Any]:
    """The schema of the compose files, as Debian's docker-compose brings it."""
    assert pytestconfig.cache is not None
    folder = Path(pytestconfig.cache.mkdir("compose"))
    if not (folder / SCHEMA).exists():
        reason = debian.unusable()
        assert reason is None, f"neither `docker compose` nor its schema is here, and cannot be fetched: {reason}"
        debian.unpack("docker-compose", folder)
    loaded: dict[str, Any] = json.loads((folder / SCHEMA).read_text(encoding="utf-8"))
    return loaded


def has_compose() -> bool:
    """Whether docker has its compose plugin; it needs no engine to judge a file."""
    docker = shutil.which("docker")
    version = [docker, "compose", "version"] if docker else ["false"]
    return subprocess.run(version, check=False, capture_output=True).returncode == 0


def test_the_file_is_what_compose_understands(request: pytest.FixtureRequest) -> None:
    """By `docker compose config` where there is one, else by its schema."""
    if has_compose():
        command = ["docker", "compose", "--file", str(REPOSITORY / "docker-compose.yml"), "config", "--quiet"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return
    schema = request.getfixturevalue("schema")
    document = {key: value for key, value in COMPOSE.items() if key != "name"}  # younger than Debian's schema
    validator = jsonschema.Draft201909Validator(schema)
    assert [f"{list(error.path)}: {error.message}" for error in validator.iter_errors(document)] == []


def test_everything_that_the_platform_needs_is_there() -> None:
    """Stores, processes, and what shows them."""
    ours = {*ONCE, "dispatcher", "notifications", "pipelines", "gateway", "relay"}
    assert set(OURS) == ours
    assert set(SERVICES) == ours | {"postgres", "rabbitmq", "redis", "prometheus", "grafana", "mailpit"}
    assert SERVICES["rabbitmq"]["image"].startswith("rabbitmq:4.")


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_of_one_version(name: str) -> None:
    """What ran yesterday runs tomorrow."""
    image = SERVICES[name]["image"]
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+(\.\d+)?(-\w+)?", image)
    if name in OURS:
        assert image == f"penstock:{VERSION}"


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_that_stays_up_has_a_health_check_and_a_limit(name: str) -> None:
    """Those of ours have it from the image; what runs once is judged by its exit code."""
    service = SERVICES[name]
    if name in ONCE:
        assert service["restart"] == "no"
    else:
        assert service["restart"] == "unless-stopped"
        checked = "HEALTHCHECK" in DOCKERFILE if name in OURS else service["healthcheck"]["test"][0] == "CMD"
        assert checked
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    assert service["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_to_this_machine_only(name: str) -> None:
    """The passwords are for development."""
    assert [port for port in SERVICES[name].get("ports", []) if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_exists(name: str) -> None:
    """Docker would make an empty folder of a file that is missing."""
    for volume in SERVICES[name].get("volumes", []):
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or (REPOSITORY / source).exists(), volume


def test_the_pipelines_find_the_files_that_are_mounted_for_them() -> None:
    """Where the jobs look for them."""
    pipelines = OURS["pipelines"]
    assert pipelines["volumes"] == [f"./examples/data:{pipelines['environment']['PENSTOCK_PIPELINE_DIR']}:ro"]


def test_every_setting_is_in_the_reference() -> None:
    """Those of the domains, too."""
    reference = (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8")
    assert {it for it in VARIABLES if f"`{it}`" not in reference} == set()


@pytest.mark.parametrize("name", SERVICES)
def test_who_is_waited_for_can_become_what_is_waited_for(name: str) -> None:
    """Healthy needs a health check, completed an end."""
    for other, wanted in SERVICES[name].get("depends_on", {}).items():
        ends = SERVICES[other].get("restart") == "no"
        assert wanted["condition"] == ("service_completed_successfully" if ends else "service_healthy")


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_that_penstock_knows(name: str) -> None:
    """With its options and their values; and the modules of jobs hold handlers."""
    context = parsed(OURS[name]["command"])
    if context.info_name == "worker":
        assert Registry.load(tuple(context.params["modules"])).bindings(None)
        assert context.params["pool"] == name
    if context.info_name == "serve":
        assert Registry.load(tuple(context.params["modules"])).bindings(None)
        port = context.params["port"]
        assert (context.params["no_auth"], OURS[name]["ports"]) == (False, [f"127.0.0.1:{port}:{port}"])
        assert OURS[name]["stop_grace_period"] == "60s"
        assert context.params["grace"] < 40
    if name not in ONCE:
        assert context.params["metrics_port"] == 9394


@pytest.mark.parametrize("name", OURS)
def test_every_variable_of_ours_is_read_by_some_settings(name: str) -> None:
    """One that is spelled wrong would be ignored without a word."""
    assert set(OURS[name]["environment"]) <= VARIABLES
    assert set(re.findall(r"\b(PENSTOCK_\w+)=", DOCKERFILE)) <= VARIABLES


def test_the_urls_name_services_and_their_passwords() -> None:
    """Each part of the stack is told where the others are."""
    environment = OURS["notifications"]["environment"]
    postgres = SERVICES["postgres"]["environment"]
    expected = f"postgresql://{postgres['POSTGRES_USER']}:{postgres['POSTGRES_PASSWORD']}@postgres:5432/"
    assert environment["PENSTOCK_DATABASE_URL"] == expected + postgres["POSTGRES_DB"]
    hosts = {re.sub(r".*@|.*//", "", value).split(":")[0] for key, value in environment.items() if "://" in value}
    assert hosts == {"postgres", "rabbitmq", "redis", "mailpit"}
    relay = OURS["relay"]["environment"]
    assert relay["PENSTOCK_BROKER_URL"] == environment["PENSTOCK_BROKER_URL"]
    assert relay["PENSTOCK_OUTBOX_DATABASE_URL"] == OURS["outbox"]["environment"]["PENSTOCK_OUTBOX_DATABASE_URL"]
    assert "PENSTOCK_DATABASE_URL" not in relay


def test_docker_is_more_patient_than_the_grace() -> None:
    """Else it would kill what we let finish."""
    for service in OURS.values():
        patience = int(service["stop_grace_period"].removesuffix("s"))
        assert patience > float(service["environment"].get("PENSTOCK_GRACE_SECONDS", 0)) + 20


def test_prometheus_scrapes_every_process_that_serves_metrics() -> None:
    """By the names that the services have."""
    scrapes = {job["job_name"]: job for job in read_yaml(DEPLOY / "prometheus" / "prometheus.yml")["scrape_configs"]}
    [found] = scrapes["penstock"]["dns_sd_configs"]
    serving = {name for name, service in OURS.items() if "--metrics-port" in service["command"]}
    assert (set(found["names"]), found["port"]) == (serving, 9394)


def test_grafana_finds_the_source_and_the_dashboard() -> None:
    """Where they are mounted."""
    folder = DEPLOY / "grafana" / "provisioning"
    [source] = read_yaml(folder / "datasources" / "prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    [provider] = read_yaml(folder / "dashboards" / "penstock.yml")["providers"]
    grafana = SERVICES["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/penstock.json"


def test_what_the_dockerfile_copies_is_let_into_the_build() -> None:
    """And what the wheel is made of is all let in."""
    allowed = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    build = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {path.split("/")[0] for path in build["packages"]} | {"pyproject.toml", "constraints.txt", "LICENSE"}
    assert needed <= allowed
    assert [name for name in allowed if not (REPOSITORY / name).exists()] == []
    copied = re.findall(r"^COPY (?!--from)(\S+) ", DOCKERFILE, re.MULTILINE)
    assert copied == ["constraints.txt", "."]


def test_the_dockerfile_installs_extras_that_exist_and_a_version_that_is_ours() -> None:
    """By the constraints that the tests ran with."""
    assert set(re.findall(r"\[(\w+)\]\"", DOCKERFILE)) == {"all"}
    assert "all" in PROJECT["optional-dependencies"]
    assert re.findall(r"^ARG VERSION=(.*)$", DOCKERFILE, re.MULTILINE) == [VERSION]
    assert DOCKERFILE.count("--constraint constraints.txt") == 2
    pinned = {re.split("[=;]", line)[0].lower() for line in (REPOSITORY / "constraints.txt").read_text().splitlines()}
    assert "hatchling" in pinned


def test_the_image_runs_nothing_as_root_and_its_probe_asks_the_port_that_is_served() -> None:
    """The same user as the one that owns the tmpfs of the state."""
    assert re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE) == ["10001"]
    assert "uid=10001" in OURS["dispatcher"]["tmpfs"][0]
    [probe] = re.findall(r"CMD (\[\"python\".*\])$", DOCKERFILE, re.MULTILINE)
    assert "http://127.0.0.1:9394/healthz" in json.loads(probe)[2]
    compile(json.loads(probe)[2], "probe", "exec")
    assert shlex.split(re.findall(r"^ENTRYPOINT \[(.*)\]$", DOCKERFILE, re.MULTILINE)[0]) == ["penstock"]
    assert "penstock" in PROJECT["scripts"]
