"""deploy/cloud: the file that `ray up` reads, against Ray's own schema and against what must not be open."""

from __future__ import annotations

import importlib.util
import json
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


def test_its_own_commands_not_rays_defaults(aws: dict[str, Any]) -> None:
    """Ray's defaults for AWS install a nightly wheel and put the dashboard on every interface."""
    for name in ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        assert aws[name], name
        assert "nightly" not in " ".join(aws[name])
