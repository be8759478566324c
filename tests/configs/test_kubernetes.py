"""The manifests follow Kubernetes' schemas, and what Ray Serve gets is a config that works."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import ray
import yaml
from ray.serve.schema import ServeDeploySchema

from serve_app.settings import Settings, load_settings

PROJECT = Path(__file__).parents[2]
KUBERNETES = PROJECT / "configs" / "kubernetes"
SETTINGS = {f"FACE_API_{name.upper()}" for name in Settings.model_fields}
RAY_SERVICE: dict[str, Any] = yaml.safe_load((KUBERNETES / "rayservice.yaml").read_text())["spec"]
HEAD: dict[str, Any] = RAY_SERVICE["rayClusterConfig"]["headGroupSpec"]
(WORKERS,) = RAY_SERVICE["rayClusterConfig"]["workerGroupSpecs"]
CONFIG: dict[str, Any] = yaml.safe_load(RAY_SERVICE["serveConfigV2"])


def validate(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("group", [HEAD, WORKERS], ids=["head", "workers"])
def test_a_pod_of_the_ray_cluster_is_one_that_kubernetes_takes(group: dict[str, Any]) -> None:
    template = group["template"]
    metadata = {"name": "pod", **template.get("metadata", {})}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    validate(pod)
    (container,) = template["spec"]["containers"]
    with pytest.raises(kubernetes_validate.utils.ValidationError):
        validate({**pod, "spec": {**template["spec"], "containers": [{**container, "imag": "x"}]}})


def test_the_network_policy_is_one_that_kubernetes_takes() -> None:
    for manifest in yaml.safe_load_all((KUBERNETES / "network-policy.yaml").read_text()):
        validate(manifest)


def test_the_fields_of_the_ray_service_are_kuberays() -> None:
    """By hand: its definition comes with the operator, not with Kubernetes."""
    assert set(RAY_SERVICE) == {
        "rayClusterDeletionDelaySeconds",
        "upgradeStrategy",
        "excludeHeadPodFromServeSvc",
        "serveConfigV2",
        "rayClusterConfig",
    }
    assert set(RAY_SERVICE["rayClusterConfig"]) == {
        "rayVersion",
        "authOptions",
        "headGroupSpec",
        "workerGroupSpecs",
    }
    assert set(HEAD) == {"rayStartParams", "template"}
    assert set(WORKERS) == {
        "groupName",
        "replicas",
        "minReplicas",
        "maxReplicas",
        "rayStartParams",
        "template",
    }
    for group in (HEAD, WORKERS):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    assert RAY_SERVICE["rayClusterConfig"]["rayVersion"] == ray.__version__


def test_the_config_is_one_of_ours_and_fits_the_pods() -> None:
    ServeDeploySchema.model_validate(CONFIG)
    (application,) = CONFIG["applications"]
    load_settings(**application["args"])
    stages = {stage["name"]: stage for stage in application["deployments"]}
    cpu = yaml.safe_load((PROJECT / "configs" / "cpu.yaml").read_text())["applications"][0]
    for usual in cpu["deployments"]:
        changed = {"num_replicas", "max_replicas_per_node"}
        stage = {name: value for name, value in stages[usual["name"]].items() if name not in changed}
        assert stage == {name: value for name, value in usual.items() if name not in changed}
    for name in ("Ingress", "Decoder", "Detector", "Masker"):
        assert stages[name]["num_replicas"] == WORKERS["replicas"]


def test_a_pod_is_drained_before_it_ends_and_runs_without_rights() -> None:
    spec = WORKERS["template"]["spec"]
    (container,) = spec["containers"]
    drain_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert Settings().request_timeout_s < drain_s < spec["terminationGracePeriodSeconds"]
    assert drain_s < RAY_SERVICE["rayClusterDeletionDelaySeconds"]
    for group in (HEAD, WORKERS):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        for one in pod["containers"]:
            assert one["securityContext"]["allowPrivilegeEscalation"] is False
            assert one["resources"]["limits"]["memory"]
            assert {"readinessProbe", "livenessProbe"} <= set(one)
            named = {variable["name"] for variable in one["env"] if variable["name"].startswith("FACE_API_")}
            assert named <= SETTINGS
