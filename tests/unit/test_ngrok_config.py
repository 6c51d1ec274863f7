"""What the ngrok role writes for the agent, rendered by Ansible itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ansible_collections.anywhere.notebook.plugins.filter.ngrok_policy import ngrok_policy

HERE = Path(__file__).resolve().parent
ROLE = HERE.parents[1] / "roles/ngrok"
SCHEMA = json.loads((HERE / "ngrok_v3.schema.json").read_text())

# All an agent 2.3 knows; it would ignore anything else without a word.
V2_KEYS = {
    "authtoken",
    "console_ui",
    "console_ui_color",
    "http_proxy",
    "socks5_proxy",
    "inspect_db_size",
    "log",
    "log_level",
    "log_format",
    "metadata",
    "region",
    "root_cas",
    "server_addr",
    "update",
    "update_channel",
    "web_addr",
    "tunnels",
}
V2_TUNNEL_KEYS = {
    "proto",
    "addr",
    "inspect",
    "auth",
    "host_header",
    "bind_tls",
    "subdomain",
    "hostname",
    "crt",
    "key",
    "client_cas",
    "remote_addr",
    "metadata",
}

AWKWARD_TOKEN = """2x"y'z: #1 \\n %s & *a !b"""
MINIMAL = {
    "ngrok_authtoken": "2unitTESTtoken",
    "ngrok_upstream_url": "http://127.0.0.1:8888",
}
POLICY = {
    "on_http_request": [
        {
            "name": "only: us",
            "expressions": ["!(conn.client_ip in ['203.0.113.0/24'])"],
            "actions": [{"type": "deny", "config": {"status_code": 403}}],
        }
    ]
}
FULL = {
    "ngrok_authtoken": AWKWARD_TOKEN,
    "ngrok_url": "https://example.ngrok.app",
    "ngrok_upstream_url": "http://127.0.0.1:9999",
    "ngrok_traffic_policy": POLICY,
    "ngrok_login_limit": 12,
    "ngrok_connect_url": "connect.example.org:443",
    "ngrok_connect_cas": "/home/zoe/my authorities.pem",
    "ngrok_endpoint_name": "my lab: #1",
}
CASES = {
    "v3-minimal": MINIMAL | {"__ngrok_agent_version": "3.39.9"},
    "v3-full": FULL | {"__ngrok_agent_version": "3.39.9"},
    "v2-minimal": MINIMAL | {"__ngrok_agent_version": "2.3.41"},
    "v2-full": FULL
    | {
        "__ngrok_agent_version": "2.3.41",
        "ngrok_traffic_policy": {},
        "ngrok_login_limit": 0,
    },
    "v2-bare-domain": MINIMAL
    | {"__ngrok_agent_version": "2.3.41", "ngrok_url": "example.ngrok.app"},
}


@pytest.fixture(scope="session")
def configs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The configuration of every case, read back."""
    directory = tmp_path_factory.mktemp("ngrok")
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    internal = yaml.safe_load((ROLE / "vars/main.yml").read_text())
    given = ("url", "emails", "ips", "rules", "policy")
    defaults |= {f"__ngrok_{name}": internal[f"__ngrok_{name}"] for name in given}
    plays = [
        {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "vars": defaults | variables | {"ansible_python_interpreter": sys.executable},
            "tasks": [
                {
                    "name": f"Render {name}",
                    "ansible.builtin.template": {
                        "src": str(ROLE / "templates/ngrok.yml.j2"),
                        "dest": str(directory / f"{name}.yml"),
                    },
                }
            ],
        }
        for name, variables in CASES.items()
    ]
    playbook = directory / "play.yml"
    playbook.write_text(json.dumps(plays))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", playbook],
        env=os.environ
        | {
            "ANSIBLE_HOME": str(directory / "home"),
            "ANSIBLE_COLLECTIONS_PATH": str(HERE.parents[1] / ".venv/collections"),
        },
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: yaml.safe_load((directory / f"{name}.yml").read_text()) for name in CASES}


@pytest.mark.parametrize("case", ["v3-minimal", "v3-full"])
def test_an_agent_3_gets_only_what_it_knows(configs: dict[str, Any], case: str) -> None:
    jsonschema.validate(configs[case], SCHEMA)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"agent": {}}, id="no-version"),
        pytest.param({"version": 3, "agent": {}, "authtoken": "x"}, id="key-of-2.3"),
        pytest.param({"version": 3, "agent": {"update": False}}, id="agent-key-of-2.3"),
        pytest.param(
            {"version": 3, "agent": {}, "endpoints": [{"name": "a", "upstream": {}}]},
            id="no-upstream",
        ),
        pytest.param(
            {
                "version": 3,
                "agent": {},
                "endpoints": [
                    {"name": "a", "upstream": {"url": "1"}, "url": "https://example.ngrok.app/"}
                ],
            },
            id="slash",
        ),
        pytest.param(
            {
                "version": 3,
                "agent": {},
                "endpoints": [
                    {
                        "name": "a",
                        "upstream": {"url": "1"},
                        "traffic_policy": {
                            "on_http_request": [
                                {"actions": [{"type": "rate-limit", "config": {"capacity": 5}}]}
                            ]
                        },
                    }
                ],
            },
            id="half-a-limit",
        ),
    ],
)
def test_the_schema_refuses_what_the_agent_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_an_agent_3_gets_no_more_than_it_needs(configs: dict[str, Any]) -> None:
    assert configs["v3-minimal"] == {
        "version": 3,
        "agent": {
            "authtoken": "2unitTESTtoken",
            "web_addr": False,
            "console_ui": False,
            "log": "stdout",
            "log_format": "json",
            "log_level": "info",
            "update_check": False,
            "remote_management": False,
            "inspect_db_size": -1,
        },
        "endpoints": [{"name": "jupyter", "upstream": {"url": "http://127.0.0.1:8888"}}],
    }


def test_values_reach_an_agent_3_as_they_are(configs: dict[str, Any]) -> None:
    agent = configs["v3-full"]["agent"]

    assert configs["v3-full"]["endpoints"] == [
        {
            "name": "my lab: #1",
            "url": "https://example.ngrok.app",
            "upstream": {"url": "http://127.0.0.1:9999"},
            "traffic_policy": ngrok_policy(POLICY, logins=12)["document"],
        }
    ]
    assert agent["authtoken"] == AWKWARD_TOKEN
    assert agent["connect_url"] == "connect.example.org:443"
    assert agent["connect_cas"] == "/home/zoe/my authorities.pem"


@pytest.mark.parametrize("case", ["v2-minimal", "v2-full", "v2-bare-domain"])
def test_an_agent_2_gets_only_what_it_knows(configs: dict[str, Any], case: str) -> None:
    assert set(configs[case]) <= V2_KEYS
    assert [set(tunnel) - V2_TUNNEL_KEYS for tunnel in configs[case]["tunnels"].values()] == [set()]


def test_an_agent_2_gets_no_more_than_it_needs(configs: dict[str, Any]) -> None:
    assert configs["v2-minimal"] == {
        "authtoken": "2unitTESTtoken",
        "web_addr": False,
        "console_ui": False,
        "log": "stdout",
        "log_format": "json",
        "log_level": "info",
        "update": False,
        "inspect_db_size": -1,
        "tunnels": {
            "jupyter": {
                "proto": "http",
                "addr": "http://127.0.0.1:8888",
                "bind_tls": True,
                "inspect": False,
            }
        },
    }


def test_values_reach_an_agent_2_as_they_are(configs: dict[str, Any]) -> None:
    config = configs["v2-full"]

    assert config["authtoken"] == AWKWARD_TOKEN
    assert config["server_addr"] == "connect.example.org:443"
    assert config["root_cas"] == "/home/zoe/my authorities.pem"
    assert list(config["tunnels"]) == ["my lab: #1"]
    assert config["tunnels"]["my lab: #1"]["addr"] == "http://127.0.0.1:9999"


@pytest.mark.parametrize("case", ["v2-full", "v2-bare-domain"])
def test_an_agent_2_gets_the_host_of_the_url(configs: dict[str, Any], case: str) -> None:
    (tunnel,) = configs[case]["tunnels"].values()

    assert tunnel["hostname"] == "example.ngrok.app"
