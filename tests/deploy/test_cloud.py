"""deploy/cloud: the file that `ray up` reads, against Ray's own schema and against what must not be open."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

REPO = Path(__file__).resolve().parents[2]
AWS = REPO / "deploy" / "cloud" / "aws.yaml"


@pytest.fixture
def aws() -> dict[str, Any]:
    return yaml.safe_load(AWS.read_text())


def test_ray_takes_it(aws: dict[str, Any]) -> None:
    found = importlib.util.find_spec("ray")
    assert found is not None
    assert found.origin is not None
    schema = json.loads((Path(found.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(aws, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**aws, "max_workres": 8}, schema)


def test_nothing_is_open_to_the_world(aws: dict[str, Any]) -> None:
    assert aws["provider"]["use_internal_ips"] is True
    for permission in aws["provider"]["security_group"]["IpPermissions"]:
        assert all(item["CidrIp"].startswith(("10.", "172.16.", "192.168.")) for item in permission["IpRanges"])
    head = " ".join(aws["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert "RAY_AUTH_MODE=token" in " ".join(aws[commands]), commands
    assert "~/.ray/auth_token" in aws["file_mounts"]


def test_workers_are_spot_machines_of_which_none_stays(aws: dict[str, Any]) -> None:
    types = aws["available_node_types"]
    workers = [kind for name, kind in types.items() if name != aws["head_node_type"]]
    assert workers
    for kind in workers:
        assert kind["min_workers"] == 0
        assert kind["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert types[aws["head_node_type"]]["resources"]["CPU"] == 0, "no trial on the head"


def test_workers_have_the_role_that_the_page_makes(aws: dict[str, Any]) -> None:
    """Ray gives its role to the head alone, and takes one of this name that is there as it is."""
    from ray.autoscaler._private.aws.config import DEFAULT_RAY_INSTANCE_PROFILE

    page = (AWS.parent / "README.md").read_text()
    assert f"role={DEFAULT_RAY_INSTANCE_PROFILE}\n" in page
    for name, kind in aws["available_node_types"].items():
        profile = kind["node_config"].get("IamInstanceProfile")
        assert profile == (None if name == aws["head_node_type"] else {"Name": DEFAULT_RAY_INSTANCE_PROFILE})
    statements = [json.loads(text)["Statement"][0] for text in re.findall(r"policy-document '(.*?)'", page, re.S)]
    assert [statement["Action"] for statement in statements] == ["sts:AssumeRole", "iam:PassRole"]
    assert statements[1]["Resource"].endswith(f":role/{DEFAULT_RAY_INSTANCE_PROFILE}")


def test_the_store_belongs_to_who_runs_the_trials(aws: dict[str, Any]) -> None:
    mount = next(command for command in aws["setup_commands"] if "mount -t" in command)
    assert mount.endswith(f"/store && sudo chown {aws['auth']['ssh_user']}: /store)")


def test_its_own_commands_not_rays_defaults(aws: dict[str, Any]) -> None:
    """Ray's defaults for AWS install a nightly wheel and put the dashboard on every interface."""
    for name in ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        assert aws[name], name
        assert "nightly" not in " ".join(aws[name])
