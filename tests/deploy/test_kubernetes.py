"""The manifests for Kubernetes, as far as they can be held against its schemas, our commands and each other."""

from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from tests.deploy.commands import VARIABLES, VERSION, parsed
from tests.deploy.files import DEPLOY, read_yaml
from tests.servers.prometheus import Programs

from penstock.workers import Registry

FOLDER = DEPLOY / "kubernetes"
KUSTOMIZATION = read_yaml(FOLDER / "kustomization.yaml")
# The oldest that its makers still mend in the year of this release, and a newer one.
VERSIONS = ("1.33", "1.36")


def manifests(*files: str) -> list[dict[str, Any]]:
    """What the files hold, in order."""
    return [it for file in files for it in yaml.safe_load_all((FOLDER / file).read_text(encoding="utf-8"))]


ALL = manifests(*KUSTOMIZATION["resources"], "relay/relay.yaml")
DEPLOYMENTS = {it["metadata"]["name"]: it for it in ALL if it["kind"] == "Deployment"}
POOLS = ("notifications", "pipelines")
WITHOUT_STATE = ("gateway", "relay")
RUNNING = [it for it in ALL if it["kind"] in ("Deployment", "Job")]
PODS = {f"{it['kind']} {it['metadata']['name']}": it["spec"]["template"]["spec"] for it in RUNNING}
SCALED = {it["metadata"]["name"]: it for it in manifests("keda/scaled-objects.yaml")}


def container(pod: dict[str, Any]) -> dict[str, Any]:
    """The only one of a pod."""
    [only] = pod["containers"]
    found: dict[str, Any] = only
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", ALL, ids=[f"{it['kind']} {it['metadata']['name']}" for it in ALL])
def test_every_manifest_is_what_kubernetes_understands(manifest: dict[str, Any], version: str) -> None:
    """By its own schemas, without a field that it does not know."""
    kubernetes_validate.validate(manifest, version, strict=True)


def test_every_file_is_part_of_the_kustomization() -> None:
    """Else it would never be applied."""
    files = {file.name for file in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert files == set(KUSTOMIZATION["resources"])
    for name, file in (("keda", "scaled-objects.yaml"), ("relay", "relay.yaml")):
        component = read_yaml(FOLDER / name / "kustomization.yaml")
        assert (component["kind"], component["resources"]) == ("Component", [file])
        assert [it.name for it in (FOLDER / name).glob("*.yaml") if it.name != "kustomization.yaml"] == [file]


@pytest.mark.parametrize("name", PODS)
def test_every_command_is_one_that_penstock_knows(name: str) -> None:
    """With its options and their values; a pool has the name of its deployment."""
    context = parsed(container(PODS[name])["args"])
    if context.info_name == "worker":
        assert Registry.load(tuple(context.params["modules"])).bindings(None)
        assert context.params["pool"] == name.split()[1]
        assert context.params["no_dispatch"]
    if context.info_name == "serve":
        assert Registry.load(tuple(context.params["modules"])).bindings(None)
        assert (context.params["host"], context.params["no_auth"]) == ("0.0.0.0", False)
    if context.info_name != "migrate":
        ports = {it["name"]: it["containerPort"] for it in container(PODS[name])["ports"]}
        served = {"metrics": context.params["metrics_port"]}
        served |= {"http": context.params["port"]} if context.info_name == "serve" else {}
        assert ports == served


def test_every_variable_is_read_by_some_settings() -> None:
    """One that is spelled wrong would be ignored without a word."""
    [configuration] = [it for it in ALL if it["kind"] == "ConfigMap"]
    assert set(configuration["data"]) <= VARIABLES
    assert {it["name"] for pod in PODS.values() for it in container(pod).get("env", [])} <= VARIABLES
    for name, pod in PODS.items():
        secret = "relay" if name == "Deployment relay" else "penstock"  # a relay is told nothing of the ledger
        sources = [{"configMapRef": {"name": "penstock"}}, {"secretRef": {"name": secret}}]
        assert container(pod)["envFrom"] == sources


@pytest.mark.parametrize("name", PODS)
def test_no_pod_can_do_more_than_it_must(name: str) -> None:
    """Nothing as root, nothing written but to its own memory, no token of the cluster, a limit on memory."""
    pod = PODS[name]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container(pod)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container(pod)["resources"]["limits"]
    assert container(pod)["image"] == f"penstock:{VERSION}"


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_an_outage_takes_a_pod_out_of_service_and_does_not_restart_it(name: str) -> None:
    """What its handlers have done waits in it to be settled; and a stop leaves time for that."""
    pod = PODS[f"Deployment {name}"]
    assert container(pod)["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    alive = "/healthz" if name == "gateway" else "/metrics"  # a gateway's says that its event loop turns
    assert container(pod)["livenessProbe"]["httpGet"] == {"path": alive, "port": "metrics"}
    [configuration] = [it for it in ALL if it["kind"] == "ConfigMap"]
    assert pod["terminationGracePeriodSeconds"] > float(configuration["data"]["PENSTOCK_GRACE_SECONDS"]) + 20
    if name in WITHOUT_STATE:
        assert [volume["name"] for volume in pod["volumes"]] == ["tmp"]
        return
    [state] = [volume for volume in pod["volumes"] if volume["name"] == "state"]
    assert state["emptyDir"]["medium"] == "Memory"
    assert configuration["data"]["PENSTOCK_STATE_DIR"] in [it["mountPath"] for it in container(pod)["volumeMounts"]]


@pytest.mark.parametrize("name", SCALED)
def test_a_pool_is_scaled_by_the_jobs_that_one_pod_can_run(name: str) -> None:
    """Those that run and wait in the queues that the pool serves."""
    scaled = SCALED[name]["spec"]
    context = parsed(container(PODS[f"Deployment {scaled['scaleTargetRef']['name']}"])["args"])
    [trigger] = scaled["triggers"]
    assert int(trigger["metadata"]["threshold"]) == context.params["processes"] * context.params["threads"]
    [queue] = Registry.load(tuple(context.params["modules"])).bindings(None)
    assert trigger["metadata"]["query"].count(f'queue="{queue}"') == 2
    assert f'pool="{name}"' in trigger["metadata"]["query"]
    assert scaled["minReplicaCount"] >= 1
    assert set(SCALED) == set(POOLS)


def test_a_drain_leaves_one_of_those_of_whom_one_is_enough() -> None:
    """Who leads, who takes jobs in and who relays; pools are as large as their work."""
    budgets = {it["metadata"]["name"]: it for it in ALL if it["kind"] == "PodDisruptionBudget"}
    assert set(budgets) == set(DEPLOYMENTS) - set(POOLS)
    for name, budget in budgets.items():
        assert budget["spec"]["minAvailable"] == 1
        assert budget["spec"]["selector"] == DEPLOYMENTS[name]["spec"]["selector"]
        replicas = DEPLOYMENTS[name]["spec"].get("replicas")
        assert replicas == 2 or (name, replicas) == ("gateway", None)


def test_the_gateway_is_reached_by_its_service_and_sized_by_its_load() -> None:
    """Two at least; nobody else says how many. Clients reach the port of the jobs, and no other."""
    [service] = [it for it in ALL if it["kind"] == "Service"]
    [scaler] = [it for it in ALL if it["kind"] == "HorizontalPodAutoscaler"]
    gateway = DEPLOYMENTS["gateway"]
    assert service["spec"]["selector"].items() <= gateway["spec"]["template"]["metadata"]["labels"].items()
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]
    assert scaler["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "gateway"}
    assert scaler["spec"]["minReplicas"] == 2
    assert "replicas" not in gateway["spec"]
    assert "cpu" in container(PODS["Deployment gateway"])["resources"]["requests"]


def test_a_gateway_that_goes_is_taken_out_of_its_service_before_it_stops_listening() -> None:
    """And what it was asked until then gets its answer: the patience is longer than both together."""
    pod = PODS["Deployment gateway"]
    grace = parsed(container(pod)["args"]).params["grace"]
    pause = container(pod)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pause >= container(pod)["readinessProbe"]["periodSeconds"]
    assert pod["terminationGracePeriodSeconds"] > pause + grace + 20


def test_prometheus_understands_how_pods_are_labelled(programs: Programs, tmp_path: Path) -> None:
    """All but the discovery itself, which Debian's Prometheus is built without."""
    scrape = read_yaml(FOLDER / "prometheus-scrape.yml")
    [job] = scrape["scrape_configs"]
    assert job["job_name"] == "penstock"
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    assert "service" in [rule.get("target_label") for rule in job["relabel_configs"]]
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump(scrape), encoding="utf-8")
    programs.check("check", "config", file)
