"""The examples of docs/deploy fit the image and the service, and are what compose and Kubernetes take."""

import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from darkroom.serving import service
from darkroom.serving.settings import ServeSettings
from tests.factories_serving import ROOT

DEPLOY = ROOT / "docs" / "deploy"
PROBES = {"/livez", "/readyz"}


def documents(name: str) -> list[Any]:
    return list(YAML(typ="safe", pure=True).load_all(DEPLOY / name))


@pytest.fixture(scope="module")
def container() -> dict[str, Any]:
    deployment, _ = documents("kubernetes.yaml")
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return found


def test_the_deployment_selects_its_pods_and_the_service_finds_them() -> None:
    deployment, service_ = documents("kubernetes.yaml")
    assert (deployment["apiVersion"], deployment["kind"]) == ("apps/v1", "Deployment")
    assert (service_["apiVersion"], service_["kind"]) == ("v1", "Service")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels == service_["spec"]["selector"]
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert {volume["name"] for volume in pod["volumes"]} == {"tmp"}
    (port,) = service_["spec"]["ports"]
    assert port["targetPort"] == pod["containers"][0]["ports"][0]["name"]


def test_probes_ask_what_the_service_answers(container: dict[str, Any]) -> None:
    names = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in PROBES
        assert container[probe]["httpGet"]["port"] in names
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] >= 30


def test_memory_is_limited_and_rights_are_dropped(container: dict[str, Any]) -> None:
    assert memory(container["resources"]["limits"]["memory"]) > memory(container["resources"]["requests"]["memory"])
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    settings = {entry["name"]: entry["value"] for entry in container["env"]}
    (mount,) = container["volumeMounts"]
    assert settings["BENTOML_HOME"].startswith(mount["mountPath"])


def test_a_pod_that_ends_is_given_time() -> None:
    deployment, _ = documents("kubernetes.yaml")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    command, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"  # which the image has
    limits = ServeSettings()
    needed = int(seconds) + limits.drain_seconds + 2 * limits.max_seconds
    assert int(seconds) >= 5
    assert pod["terminationGracePeriodSeconds"] >= needed
    (compose,) = documents("compose.yaml")
    grace = int(compose["services"]["darkroom"]["stop_grace_period"].removesuffix("s"))
    assert grace >= limits.drain_seconds + 2 * limits.max_seconds


@pytest.mark.parametrize("name", ["FORWARDED_ALLOW_IPS", "proxy_set_header Host $http_host;", "serve.hosts"])
def test_what_a_proxy_needs_is_documented(name: str) -> None:
    assert name in (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


def test_compose_builds_the_bento_and_asks_whether_it_is_ready() -> None:
    (content,) = documents("compose.yaml")
    (found,) = content["services"].values()
    assert (DEPLOY / found["build"]["context"]).resolve() == ROOT / "dist" / "darkroom.bento"
    assert found["build"]["dockerfile"] == "env/docker/Dockerfile"
    assert found["ports"] == ["127.0.0.1:3000:3000"]
    assert found["read_only"]
    assert found["environment"]["BENTOML_HOME"].startswith(found["tmpfs"][0])
    compile(found["healthcheck"]["test"][3], "healthcheck", "exec")
    assert any(path in found["healthcheck"]["test"][3] for path in PROBES)


def test_the_configuration_names_the_service() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (*DEPLOY.iterdir(), ROOT / "docs" / "deployment.md")]
    named = {name for text in texts for name in re.findall(r"services\.(\w+)\.workers=\d", text)}
    assert named == {service._service().name}


def test_another_worker_answers_when_one_dies() -> None:
    assert service._service().config["workers"] == 2


def memory(text: str) -> float:
    found = re.fullmatch(r"(\d+)(Mi|Gi)", text)
    assert found, f"{text} is no amount of memory"
    number, unit = found.groups()
    return float(number) * {"Mi": 2**20, "Gi": 2**30}[unit]
