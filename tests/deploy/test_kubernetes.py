"""deploy/kubernetes: Kubernetes' own objects against its schemas; KubeRay's against the fields of its documentation.

No Python package carries the definitions of KubeRay's objects, so those of KubeRay 1.7
that are known here are listed below.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.test_templates import DEPLOY, REPO, documents

FOLDER = DEPLOY / "kubernetes"
CLUSTER = {
    "rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "authOptions", "gcsFaultToleranceOptions",
    "networkPolicy", "tlsOptions", "headGroupSpec", "workerGroupSpecs",
}  # fmt: skip
JOB = {
    "entrypoint", "runtimeEnvYAML", "submissionMode", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished",
    "activeDeadlineSeconds", "preRunningDeadlineSeconds", "backoffLimit", "suspend", "clusterSelector",
    "deletionStrategy", "rayClusterSpec",
}  # fmt: skip
WORKERS = {
    "groupName", "replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds", "numOfHosts", "rayStartParams",
    "template",
}  # fmt: skip
SUBMISSION = {"K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"}


def objects() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(FOLDER.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield from ((path, document) for document in documents(path))


def cluster() -> dict[str, Any]:
    return documents(FOLDER / "raycluster.yaml")[0]["spec"]


def test_kubernetes_takes_its_own_objects() -> None:
    validate = pytest.importorskip(
        "kubernetes_validate", reason="KUBERNETES-VALIDATE IS NOT INSTALLED: pip install kubernetes-validate"
    )
    kinds = []
    for path, document in objects():
        if document["apiVersion"].startswith("ray.io/"):
            continue
        validate.validate(document, validate.latest_version(), strict=True)
        kinds.append((path.name, document["kind"]))
    assert {"NetworkPolicy", "StatefulSet", "Deployment", "CronJob", "Service"} <= {kind for _, kind in kinds}
    wrong = documents(FOLDER / "mlflow.yaml")[1]
    wrong["spec"]["template"]["spec"]["contianers"] = []
    with pytest.raises(validate.ValidationError):
        validate.validate(wrong, validate.latest_version(), strict=True)


def test_the_pods_inside_kuberays_objects_are_pods() -> None:
    validate = pytest.importorskip(
        "kubernetes_validate", reason="KUBERNETES-VALIDATE IS NOT INSTALLED: pip install kubernetes-validate"
    )
    for group in [cluster()["headGroupSpec"], *cluster()["workerGroupSpecs"]]:
        pod = {"apiVersion": "v1", "kind": "Pod", **group["template"]}
        validate.validate(pod, validate.latest_version(), strict=True)


def test_kuberays_objects_have_the_fields_that_it_knows() -> None:
    job = documents(FOLDER / "rayjob.yaml")[0]
    for document in (job, documents(FOLDER / "raycluster.yaml")[0]):
        assert document["apiVersion"] == "ray.io/v1"
        assert set(document) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(job["spec"]) <= JOB
    assert job["spec"]["submissionMode"] in SUBMISSION
    spec = cluster()
    assert set(spec) <= CLUSTER
    assert spec["authOptions"]["mode"] == "token"
    assert set(spec["autoscalerOptions"]) <= {"version", "idleTimeoutSeconds"}
    assert set(spec["headGroupSpec"]) <= {"rayStartParams", "template", "serviceType"}
    for group in spec["workerGroupSpecs"]:
        assert set(group) <= WORKERS
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_versions_are_those_that_everything_else_has() -> None:
    """KubeRay refuses or misreads a cluster whose image has another Ray than the object says."""
    lines = [line.split(";")[0].strip() for line in (REPO / "constraints.txt").read_text().splitlines()]
    pins = dict(line.split("==") for line in lines if "==" in line)
    assert cluster()["rayVersion"] == pins["ray"]
    dockerfile = (FOLDER / "Dockerfile").read_text()
    for name, version in re.findall(r"([\w.-]+)==([\w.]+)", dockerfile):
        assert pins[name] == version, f"{name} is in the constraints too: pip would refuse the two"
    assert "-c constraints.txt" in dockerfile


def test_the_job_has_the_cluster_that_stands() -> None:
    assert documents(FOLDER / "rayjob.yaml")[0]["spec"]["rayClusterSpec"] == cluster()


def test_workers_have_gpus_shared_memory_and_come_from_none() -> None:
    (group,) = cluster()["workerGroupSpecs"]
    pod = group["template"]["spec"]
    (container,) = pod["containers"]
    assert group["minReplicas"] == 0
    assert cluster()["enableInTreeAutoscaling"] is True
    assert int(container["resources"]["limits"]["nvidia.com/gpu"]) >= 1
    memory = next(volume for volume in pod["volumes"] if volume.get("emptyDir", {}).get("medium") == "Memory")
    assert {"name": memory["name"], "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert cluster()["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def pods() -> Iterator[dict[str, Any]]:
    for _, document in objects():
        spec = document["spec"] if document["kind"] in {"StatefulSet", "Deployment"} else None
        if document["kind"] == "CronJob":
            spec = document["spec"]["jobTemplate"]["spec"]
        if spec:
            yield spec["template"]
    yield from (group["template"] for group in [cluster()["headGroupSpec"], *cluster()["workerGroupSpecs"]])


def test_no_pod_is_root_and_every_one_is_behind_a_policy() -> None:
    policies = [document["spec"] for _, document in objects() if document["kind"] == "NetworkPolicy"]
    assert {"podSelector": {}, "policyTypes": ["Ingress"]} in policies
    for pod in pods():
        assert pod["metadata"]["labels"]["app"] in {"postgres", "backup", "mlflow", "ray"}
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
    for policy in policies:
        for rule in policy.get("ingress", []):
            assert rule["from"], "an empty list lets everybody in"
    assert all(
        document["spec"].get("type", "ClusterIP") == "ClusterIP"
        for _, document in objects()
        if document["kind"] == "Service"
    )


def test_one_kustomization_has_it_all(tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("KUBECTL IS NOT INSTALLED")
    shutil.copytree(FOLDER, tmp_path / "k", ignore=shutil.ignore_patterns("secrets"))
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "key of a test", "AWS_SECRET_ACCESS_KEY": "hidden"}
    made = subprocess.run([tmp_path / "k" / "secrets.sh"], capture_output=True, text=True, env=environment)
    assert made.returncode == 0, made.stderr
    for path in (tmp_path / "k" / "secrets").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = subprocess.run([tmp_path / "k" / "secrets.sh"], capture_output=True, text=True)
    assert again.returncode == 2
    assert "already" in again.stderr
    built = subprocess.run([kubectl, "kustomize", tmp_path / "k"], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    found = list(yaml.safe_load_all(built.stdout))
    assert {document["metadata"].get("namespace") for document in found if document["kind"] != "Namespace"} == {
        "sweeps"
    }
    images = [line.split()[-1] for line in built.stdout.splitlines() if "image:" in line]
    assert len(images) == 5
    assert all("/" in image or image.startswith("postgres:") for image in images), "each has the registry's name"
    assert refers_to(found) <= {(document["kind"], document["metadata"]["name"]) for document in found}


def refers_to(found: Any) -> set[tuple[str, str]]:
    """The secrets and settings that some object names."""
    kinds = {"secretKeyRef": "Secret", "secretRef": "Secret", "configMapRef": "ConfigMap", "configMap": "ConfigMap"}
    names: set[tuple[str, str]] = set()
    if isinstance(found, dict):
        for key, value in found.items():
            if key in kinds and isinstance(value, dict):
                names.add((kinds[key], value["name"]))
            names |= refers_to(value)
    elif isinstance(found, list):
        names = names.union(*map(refers_to, found))
    return names
