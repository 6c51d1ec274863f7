"""The Traffic Policies that can be had without knowing ngrok's grammar, and that are refused."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from ansible_collections.anywhere.notebook.plugins.filter.ngrok_policy import FilterModule

from tests.support import CHECKOUT

ngrok_policy = FilterModule().filters()["ngrok_policy"]

SCHEMA = json.loads((CHECKOUT / "tests/unit/ngrok_v3.schema.json").read_text())

LIMIT = {
    "name": "Few passwords a minute",
    "expressions": ["req.method == 'POST'", "req.url.path == '/login'"],
    "actions": [
        {
            "type": "rate-limit",
            "config": {
                "name": "Passwords tried from one address",
                "algorithm": "sliding_window",
                "capacity": 10,
                "rate": "60s",
                "bucket_key": ["conn.client_ip"],
            },
        }
    ],
}
LOGIN = [
    {
        "name": "Log in",
        "expressions": ["req.url.path != '/notebook-proof'"],
        "actions": [{"type": "oauth", "config": {"provider": "github"}}],
    },
    {
        "name": "Only these people",
        "expressions": [
            "req.url.path != '/notebook-proof'",
            "!(actions.ngrok.oauth.identity.email in ['me@example.com', 'o+x@lab.example.org'])",
        ],
        "actions": [{"type": "deny", "config": {"status_code": 403}}],
    },
]
FROM = {
    "name": "Only from these addresses",
    "actions": [
        {
            "type": "restrict-ips",
            "config": {"enforce": True, "allow": ["198.51.100.7/32", "2001:db8::/32"]},
        }
    ],
}
OWN: dict[str, Any] = {
    "on_http_request": [{"actions": [{"type": "compress-response"}]}],
    "on_http_response": [
        {"expressions": ["true"], "actions": [{"type": "log", "config": {"metadata": {}}}]}
    ],
}

PEOPLE = ["me@example.com", "o+x@lab.example.org"]
RANGES = ["198.51.100.7", "2001:db8::/32"]


@pytest.mark.parametrize(
    ("own", "asked", "document"),
    [
        pytest.param({}, {}, {}, id="nothing"),
        pytest.param(OWN, {}, OWN, id="own"),
        pytest.param({}, {"logins": 10}, {"on_http_request": [LIMIT]}, id="logins"),
        pytest.param({}, {"logins": "10"}, {"on_http_request": [LIMIT]}, id="logins-as-a-word"),
        pytest.param(
            {}, {"emails": PEOPLE, "provider": "github"}, {"on_http_request": LOGIN}, id="emails"
        ),
        pytest.param({}, {"ranges": RANGES}, {"on_http_request": [FROM]}, id="ranges"),
        pytest.param(
            {}, {"ranges": "198.51.100.7, 2001:db8::/32"}, {"on_http_request": [FROM]}, id="a-word"
        ),
        pytest.param(
            OWN,
            {"ranges": RANGES, "emails": PEOPLE, "provider": "github", "logins": 10},
            OWN | {"on_http_request": [FROM, *LOGIN, LIMIT, *OWN["on_http_request"]]},
            id="all",
        ),
    ],
)
def test_what_is_asked_for_is_in_the_document_and_in_ngrok_s_grammar(
    own: dict[str, Any], asked: dict[str, Any], document: dict[str, Any]
) -> None:
    made = ngrok_policy(own, **asked)

    assert made == {"document": document, "problem": ""}
    endpoint = {"name": "a", "upstream": {"url": "1"}, "traffic_policy": made["document"]}
    jsonschema.validate({"version": 3, "agent": {}, "endpoints": [endpoint]}, SCHEMA)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"emails": ["me"]}, "ngrok_allowed_emails: me is no e-mail address."),
        ({"emails": ["me@localhost"]}, "ngrok_allowed_emails: me@localhost is no e-mail"),
        ({"emails": ["x'], true, ['@example.com"]}, "ngrok_allowed_emails: "),
        ({"emails": ["a\\@example.com"]}, "ngrok_allowed_emails: "),
        ({"emails": ["me@example.com\n"]}, "ngrok_allowed_emails: "),
        ({"emails": [1]}, "ngrok_allowed_emails is no list of texts."),
        ({"emails": {"a": 1}}, "ngrok_allowed_emails is no list of texts."),
        ({"emails": PEOPLE, "provider": "facebook"}, "ngrok_oauth_provider: facebook is none of "),
        ({"ranges": ["198.51.100.7/24"]}, "ngrok_allowed_ips: 198.51.100.7/24 has host bits set"),
        ({"ranges": ["198.51.100"]}, "ngrok_allowed_ips: '198.51.100' does not appear to be"),
        ({"ranges": ["example.com"]}, "ngrok_allowed_ips: 'example.com' does not appear to be"),
        ({"ranges": [None]}, "ngrok_allowed_ips is no list of texts."),
        ({"logins": -1}, "ngrok_login_limit: -1 is no number of logins a minute."),
        ({"logins": "many"}, "ngrok_login_limit: many is no number"),
        ({"logins": 1.5}, "ngrok_login_limit: 1.5 is no number"),
        ({"logins": 10**12}, "ngrok_login_limit: 1000000000000 is no number"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(asked: dict[str, Any], why: str) -> None:
    made = ngrok_policy({}, **asked)

    assert made["problem"].startswith(why)
    assert made["document"] == {}


DO = [{"type": "deny"}]


@pytest.mark.parametrize(
    ("own", "why"),
    [
        ([], "ngrok_traffic_policy is no mapping of phases to lists of rules."),
        ("on_http_request: []", "ngrok_traffic_policy is no mapping of phases"),
        (None, "ngrok_traffic_policy is no mapping of phases"),
        ({"inbound": []}, "ngrok_traffic_policy: inbound is no phase; there are on_tcp_connect, "),
        ({"actions": DO}, "ngrok_traffic_policy: actions is no phase"),
        ({1: []}, "ngrok_traffic_policy: 1 is no phase"),
        ({"on_http_request": {}}, "ngrok_traffic_policy: on_http_request is no list of rules."),
        ({"on_http_request": None}, "ngrok_traffic_policy: on_http_request is no list of rules."),
        (
            {"on_http_request": ["deny"]},
            "ngrok_traffic_policy: rule 1 of on_http_request is no mapping.",
        ),
        (
            {"on_http_request": [{"actions": DO}, {"type": "deny"}]},
            "ngrok_traffic_policy: rule 2 of on_http_request has type; a rule has name, ",
        ),
        (
            {"on_http_request": [{"name": "a"}]},
            "ngrok_traffic_policy: rule 1 of on_http_request has no list of actions.",
        ),
        (
            {"on_http_request": [{"actions": []}]},
            "ngrok_traffic_policy: rule 1 of on_http_request has no list of actions.",
        ),
        (
            {"on_http_request": [{"actions": ["deny"]}]},
            "ngrok_traffic_policy: rule 1 of on_http_request has an action without a type.",
        ),
        (
            {"on_http_request": [{"actions": [{"config": {}}]}]},
            "ngrok_traffic_policy: rule 1 of on_http_request has an action without a type.",
        ),
        (
            {"on_http_request": [{"actions": [{"type": "oauth", "config": ["s3cret"]}]}]},
            "ngrok_traffic_policy: rule 1 of on_http_request: the config of its oauth is no mapp",
        ),
        (
            {"on_http_request": [{"actions": DO, "expressions": "s3cret"}]},
            "ngrok_traffic_policy: rule 1 of on_http_request: its expressions are no list of",
        ),
    ],
)
def test_a_document_of_another_shape_is_refused_and_not_shown(own: object, why: str) -> None:
    made = ngrok_policy(own, logins=10)

    assert made["problem"].startswith(why)
    assert made["document"] == {}
    assert "s3cret" not in made["problem"]
