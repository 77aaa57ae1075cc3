"""cluster.yaml, the KubeRay manifests and the image: valid, closed to the world, pinned, without secrets."""

import copy
import functools
import os
import pathlib
import re
import subprocess
import sys
import tomllib

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).parents[1]
CLUSTER = ROOT / "cluster.yaml"
MANIFESTS = [ROOT / "cluster/kuberay/raycluster.yaml", ROOT / "cluster/kuberay/rayjob.yaml"]
DOCKERFILE = ROOT / "cluster/Dockerfile"
README = ROOT / "cluster/README.md"
FILES = [CLUSTER, *MANIFESTS, DOCKERFILE, README]
SCHEMAS = ROOT.parent / "shared/schemas"

SECRET_TEXT = re.compile(
    r"\bhf_[A-Za-z0-9]{20,}"  # Hugging Face
    r"|\b(AKIA|ASIA)[A-Z0-9]{16}\b"  # AWS
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}"  # GitHub
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|(?<![0-9a-fA-F])[0-9a-f]{32,}(?![0-9a-fA-F])"  # W&B keys, hexadecimal tokens
)
SECRET_NAME = re.compile(r"(^|[_-])(TOKEN|SECRET|PASSWORD|CREDENTIALS?|(API|ACCESS|PRIVATE)[_-]?KEY)$", re.I)


@functools.cache
def load(path):
    fastest = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the CRDs are megabytes
    return yaml.load(path.read_text(), fastest)


def walk(node):
    """Every mapping below a node, itself included."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(child)


def cluster_spec(manifest):
    spec = manifest["spec"]
    return spec["rayClusterSpec"] if manifest["kind"] == "RayJob" else spec


def pod_specs(manifest):
    spec = cluster_spec(manifest)
    return [group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def containers(manifest):
    return [container for pod in pod_specs(manifest) for container in pod["containers"]]


# ---- cluster.yaml


@pytest.fixture(scope="module")
def prepared():
    """cluster.yaml as `ray up` sees it: checked by Ray and merged with Ray's defaults for AWS."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(copy.deepcopy(load(CLUSTER)))
    validate_config(config)
    return config


def test_ray_refuses_a_misspelt_key_in_cluster_yaml():
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = copy.deepcopy(load(CLUSTER)) | {"idle_timeout_minute": 5}
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minute"):
        validate_config(prepare_config(config))


def test_cluster_yaml_scales_from_zero_and_keeps_tasks_off_the_head(prepared):
    types = dict(prepared["available_node_types"])
    head = types.pop(prepared["head_node_type"])
    assert head["resources"]["CPU"] == 0 and head["max_workers"] == 0
    assert set(types) == {"cpu", "gpu"}
    for worker in types.values():
        assert worker["min_workers"] == 0 < worker["max_workers"] <= prepared["max_workers"]
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in head["node_config"]
    assert prepared["idle_timeout_minutes"] > 0


def test_cluster_yaml_exposes_nothing(prepared):
    assert prepared["provider"]["use_internal_ips"] is True
    assert "security_group" not in prepared["provider"]
    for node in prepared["available_node_types"].values():
        # Named groups and subnets: Ray would otherwise pick public subnets and open port 22 to every address.
        assert node["node_config"]["SecurityGroupIds"] and node["node_config"]["SubnetIds"]
        assert "NetworkInterfaces" not in node["node_config"]
    start = " ".join(prepared["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start and "0.0.0.0" not in start


def test_cluster_yaml_asks_for_a_token_that_it_does_not_hold(prepared):
    options = prepared["docker"]["run_options"]
    assert "--env=RAY_AUTH_MODE=token" in options
    path = next(o for o in options if o.startswith("--env=RAY_AUTH_TOKEN_PATH=")).split("=", 2)[2]
    assert pathlib.PurePosixPath(path).parent.as_posix() in prepared["file_mounts"]


def test_the_image_is_complete_so_nothing_of_rays_defaults_is_installed(prepared):
    assert prepared["setup_commands"] == prepared["worker_setup_commands"] == []
    assert not any("pip" in command for command in prepared["head_setup_commands"])


def test_the_head_proves_that_it_can_write_to_the_bucket(prepared, tmp_path):
    (command,) = prepared["head_setup_commands"]
    path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"

    def check(folder):
        env = os.environ | {"PATH": path, "RAYPIPE_OUTPUTS": folder.as_uri()}
        return subprocess.run(["bash", "-c", command], env=env, capture_output=True).returncode

    assert check(tmp_path) == 0 and (tmp_path / ".ray-up").exists()
    assert check(tmp_path / ".ray-up/folder") != 0  # a file is in the way


# ---- the Kubernetes manifests


def closed(schema):
    """A CRD schema that refuses unknown fields (a server drops them silently) and knows `nullable`."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        out.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        out.pop("type", None)
        out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if schema.get("nullable") is True and isinstance(schema.get("type"), str):
        out["type"] = [schema["type"], "null"]
    return out


@functools.cache
def validator(kind):
    path = SCHEMAS / f"ray.io_{kind.lower()}s.yaml"
    if not path.exists():
        pytest.skip(f"KubeRay's CRDs are not here: no ../shared/schemas/{path.name} beside the repository")
    versions = {v["name"]: v for v in load(path)["spec"]["versions"]}
    return jsonschema.Draft7Validator(closed(versions["v1"]["schema"]["openAPIV3Schema"]))


def faults(manifest):
    found = validator(manifest["kind"]).iter_errors(manifest)
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in found]


each_manifest = pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.stem)


@each_manifest
def test_the_manifest_fits_the_crd(path):
    assert load(path)["apiVersion"] == "ray.io/v1"
    assert faults(load(path)) == []


@each_manifest
def test_the_crd_check_finds_planted_faults(path):
    def plant(change):
        broken = copy.deepcopy(load(path))  # an alias is one shared object: a fault may show twice
        change(cluster_spec(broken))
        return faults(broken)

    assert plant(lambda s: s.update(authOption={"mode": "token"}))
    assert plant(lambda s: s["authOptions"].update(mode="tokens"))
    assert plant(lambda s: s["workerGroupSpecs"][0].update(minReplicas="0"))
    assert plant(lambda s: s["workerGroupSpecs"][0].pop("groupName"))
    assert plant(lambda s: s["headGroupSpec"]["template"]["spec"]["containers"][0].update(imag="x"))
    assert plant(lambda s: s["autoscalerOptions"]["resources"]["limits"].update(cpu=[1]))


@each_manifest
def test_the_manifest_asks_for_a_token_and_scales_from_zero(path):
    spec = cluster_spec(load(path))
    assert spec["authOptions"]["mode"] == "token"
    assert spec["enableInTreeAutoscaling"] is True and spec["autoscalerOptions"]["idleTimeoutSeconds"] > 0
    head = spec["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert head["serviceType"] == "ClusterIP" and "enableIngress" not in head
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    assert set(groups) == {"cpu", "gpu"}
    for group in groups.values():
        assert group["minReplicas"] == group["replicas"] == 0 < group["maxReplicas"]
    limits = groups["gpu"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"


@each_manifest
def test_every_container_is_bounded_probed_and_not_root(path):
    for pod in pod_specs(load(path)):
        assert pod["securityContext"]["runAsNonRoot"] is True
    for container in containers(load(path)):
        resources = container["resources"]
        assert resources["requests"] == resources["limits"]
        assert {"cpu", "memory"} <= set(resources["limits"])
        assert container["readinessProbe"] and container["livenessProbe"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_the_ray_job_cleans_up_and_runs_a_job_of_ours():
    spec = load(MANIFESTS[1])["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0 and spec["activeDeadlineSeconds"] > 0
    (job,) = re.findall(r"\S*(jobs/\w+\.py)", spec["entrypoint"])
    assert (ROOT / job).is_file(), f"the entry point runs {job}, which is not in the repository"
    workers = int(re.search(r"--num-workers (\d+)", spec["entrypoint"])[1])
    gpu = next(g for g in spec["rayClusterSpec"]["workerGroupSpecs"] if g["groupName"] == "gpu")
    assert workers <= gpu["maxReplicas"], "more workers than GPUs: the run would wait for ever"


# ---- versions


@pytest.fixture(scope="module")
def ray_pin():
    text = (ROOT / "constraints.txt").read_text()
    return re.search(r"^ray(?:\[[\w,]+\])?==(\S+)", text, re.M)[1]


def test_every_file_names_the_pinned_ray(ray_pin):
    for path in MANIFESTS:
        assert cluster_spec(load(path))["rayVersion"] == ray_pin
        for container in containers(load(path)):
            assert container["image"].endswith(f":ray-{ray_pin}")
    assert load(CLUSTER)["docker"]["image"].endswith(f":ray-{ray_pin}")
    for path in FILES:
        named = re.findall(r"\bray(?:-|==|:)(\d+\.\d+\.\d+)", path.read_text())
        assert set(named) <= {ray_pin}, path.name


def test_the_image_installs_the_pins_and_does_not_run_as_root():
    steps = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text()).splitlines()
    assert [s for s in steps if s.startswith("FROM ")] == ["FROM python:3.11-slim-bookworm"]
    installs = [s for s in steps if "pip install" in s]
    assert installs and all("--constraint constraints.txt" in s for s in installs)
    assert [s for s in steps if s.startswith("USER ")] == ["USER ray"]


def test_each_direct_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["s3"], *extras["demo"], *extras["dev"]]
    names = {canonicalize_name(Requirement(line).name) for line in wanted} - {"raypipe"}
    pins = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#"]
    assert all(str(pin.specifier).startswith("==") for pin in pins)
    assert names <= {canonicalize_name(pin.name) for pin in pins}


# ---- secrets


def literal_secrets(text, parsed=None):
    """Texts that look like secrets, and names of secrets that hold a value instead of a reference."""
    found = [match[0] for match in SECRET_TEXT.finditer(text)]
    options = re.findall(r"--env[= ]'?(\w+)=(\S+)", text)
    entries = [(m["name"], m["value"]) for m in walk(parsed) if {"name", "value"} <= set(m)]
    plain = [(str(k), v) for m in walk(parsed) for k, v in m.items() if isinstance(v, str)]
    named = [name for name, value in [*options, *entries, *plain] if value and SECRET_NAME.search(name)]
    return found + named


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_no_file_holds_a_secret(path):
    parsed = load(path) if path.suffix == ".yaml" else None
    assert literal_secrets(path.read_text(), parsed) == []


@pytest.mark.parametrize(
    "planted",
    [
        "token: hf_" + "aB3" * 10,
        "key: AKIA" + "Q7" * 8,
        "x: " + "0123456789abcdef" * 2,
        "env: [{name: HF_TOKEN, value: something}]",
        "run_options: ['--env=WANDB_API_KEY=something']",
        "password: hunter2",
    ],
)
def test_the_search_finds_planted_secrets(planted):
    assert literal_secrets(planted, yaml.safe_load(planted))


# ---- the guide


def test_the_guide_names_every_value_to_set_and_only_files_that_exist():
    guide = README.read_text()
    values = set(re.findall(r"(?:ami|subnet|sg)-SET-ME|s3://SET-ME/\w+|SET-ME\.dkr", CLUSTER.read_text()))
    assert len(values) == 5
    assert [value for value in values if value not in guide] == []
    jobs = set(re.findall(r"python (jobs/\w+\.py)", guide))
    links = set(re.findall(r"\]\(([^)#]+)\)", guide))
    assert jobs and links
    missing = [p for p in jobs if not (ROOT / p).is_file()]
    missing += [p for p in links if "://" not in p and not (README.parent / p).exists()]
    assert missing == []
