# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: a Traffic Policy for the endpoint of a notebook."""

from __future__ import annotations

DOCUMENTATION = r"""
name: ngrok_policy
short_description: Make a Traffic Policy that keeps visitors off a notebook
description:
  - Returns the document that ngrok's service applies to each visitor before the machine hears of
    one, made of what is asked for, followed by the rules given.
  - What is wrong with any of it is told as a sentence, which holds no value of a rule.
  - "One path passes the login of O(emails), V(/notebook-proof): there a stranger learns nothing,
    and whoever has the token can prove that the URL leads to this notebook."
version_added: 0.1.0
author: The anywhere.notebook authors (@anywhere-notebook)
options:
  _input:
    description: Rules by phase, as ngrok's documentation has them under Traffic Policy.
    type: dict
    required: true
  emails:
    description: Who may pass, by the address that O(provider) knows. Empty stands for everybody.
    type: list
    elements: str
    default: []
  provider:
    description: Who tells ngrok the address of a visitor.
    type: str
    choices: [github, gitlab, google, linkedin, microsoft, twitch]
    default: google
  ranges:
    description: From where visitors may come, as addresses or CIDR ranges. Empty is from anywhere.
    type: list
    elements: str
    default: []
  logins:
    description: How many passwords may be tried in a minute from one address; V(0) is any number.
    type: int
    default: 0
notes:
  - On the free plan a policy may have 5 rules; O(emails) takes two, the others one each.
"""

EXAMPLES = r"""
- name: Show a policy
  ansible.builtin.debug:
    msg: "{{ {} | anywhere.notebook.ngrok_policy(emails=['me@example.com'], logins=10) }}"
"""

RETURN = r"""
_value:
  description: The document as C(document), and as C(problem) what is wrong, empty when nothing is.
  type: dict
  sample: {document: {on_http_request: []}, problem: ""}
"""

import ipaddress
import re
import typing as t
from collections.abc import Mapping, Sequence

PHASES = ("on_tcp_connect", "on_http_request", "on_http_response")
RULE = ("name", "expressions", "actions")
# ngrok has applications of its own with them; all others take an application of the person's, and
# so a document of their own.
PROVIDERS = ("github", "gitlab", "google", "linkedin", "microsoft", "twitch")
# What is neither here nor in a domain cannot end a text in CEL, ngrok's language of expressions.
EMAIL = re.compile(r"[A-Za-z0-9.!#$%&*+/=?^_{|}~-]+@([A-Za-z0-9-]+\.)+[A-Za-z0-9-]+")

# The guard of the notebook answers here without a login, with what takes the token to verify.
PROOF = "/notebook-proof"
NOT_PROOF = f"req.url.path != '{PROOF}'"


class Wrong(ValueError):
    """What was asked for is no policy; the message is a sentence without its full stop."""


def ngrok_policy(
    own: object,
    emails: object = (),
    provider: object = "google",
    ranges: object = (),
    logins: object = 0,
) -> dict[str, t.Any]:
    """Return ``document`` and ``problem``, of which one is empty unless nothing was asked for.

    What keeps out more comes first, so that nobody else counts for what follows.
    """
    try:
        rules = [
            *_from(_words("ngrok_allowed_ips", ranges)),
            *_login(_words("ngrok_allowed_emails", emails), provider),
            *_limit(logins),
        ]
        document = _checked(own)
    except Wrong as exc:
        return {"document": {}, "problem": f"{exc}."}
    if rules:
        document["on_http_request"] = rules + document.get("on_http_request", [])
    return {"document": document, "problem": ""}


def _from(ranges: Sequence[str]) -> list[dict[str, t.Any]]:
    """Return the rule that refuses visitors from elsewhere with status 403."""
    allowed = []
    for text in ranges:
        try:
            allowed.append(str(ipaddress.ip_network(text)))
        except ValueError as exc:
            raise Wrong(
                f"ngrok_allowed_ips: {exc}. It takes addresses and ranges, such as 198.51.100.7 "
                "and 2001:db8::/32"
            ) from exc
    config = {"enforce": True, "allow": allowed}
    return [_rule("Only from these addresses", "restrict-ips", config)] if allowed else []


def _login(emails: Sequence[str], provider: object) -> list[dict[str, t.Any]]:
    """Return the rules that let in who logs in with one of these addresses."""
    odd = [email for email in emails if not EMAIL.fullmatch(email)]
    if odd:
        raise Wrong(f"ngrok_allowed_emails: {', '.join(odd)} is no e-mail address")
    if provider not in PROVIDERS:
        raise Wrong(f"ngrok_oauth_provider: {provider} is none of {', '.join(PROVIDERS)}")
    known = ", ".join(f"'{email}'" for email in emails)
    others = f"!(actions.ngrok.oauth.identity.email in [{known}])"
    return (
        [
            _rule("Log in", "oauth", {"provider": provider}, NOT_PROOF),
            _rule("Only these people", "deny", {"status_code": 403}, NOT_PROOF, others),
        ]
        if emails
        else []
    )


def _limit(logins: object) -> list[dict[str, t.Any]]:
    """Return the rule that refuses further passwords with status 429."""
    text = str(logins)
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise Wrong(f"ngrok_login_limit: {text} is no number of logins a minute")
    config = {
        "name": "Passwords tried from one address",
        "algorithm": "sliding_window",
        "capacity": int(text),
        "rate": "60s",
        "bucket_key": ["conn.client_ip"],
    }
    tried = ("req.method == 'POST'", "req.url.path == '/login'")
    return [_rule("Few passwords a minute", "rate-limit", config, *tried)] if int(text) else []


def _rule(name: str, kind: str, config: dict[str, t.Any], *expressions: str) -> dict[str, t.Any]:
    rule: dict[str, t.Any] = {"name": name}
    if expressions:
        rule["expressions"] = list(expressions)
    return rule | {"actions": [{"type": kind, "config": config}]}


def _words(name: str, value: object) -> list[str]:
    """Return a list of texts; one word alone stands for a list of it, as for Ansible."""
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    if not isinstance(value, Sequence) or not all(isinstance(word, str) for word in value):
        raise Wrong(f"{name} is no list of texts")
    return [str(word) for word in value]


def _checked(own: object) -> dict[str, list[t.Any]]:
    """Return the person's document, as far as it has the shape that ngrok takes.

    Which actions there are and what they take is ngrok's to know, and changes.
    """
    if not isinstance(own, Mapping):
        raise Wrong("ngrok_traffic_policy is no mapping of phases to lists of rules")
    document = {}
    for phase, rules in own.items():
        if phase not in PHASES:
            raise Wrong(f"ngrok_traffic_policy: {phase} is no phase; there are {', '.join(PHASES)}")
        if not _is_list(rules):
            raise Wrong(f"ngrok_traffic_policy: {phase} is no list of rules")
        for number, rule in enumerate(rules, 1):
            where = f"ngrok_traffic_policy: rule {number} of {phase}"
            if not isinstance(rule, Mapping):
                raise Wrong(f"{where} is no mapping")
            odd = [str(key) for key in rule if key not in RULE]
            if odd:
                raise Wrong(f"{where} has {', '.join(odd)}; a rule has {', '.join(RULE)}")
            _check(where, rule)
        document[str(phase)] = list(rules)
    return document


def _check(where: str, rule: Mapping[str, t.Any]) -> None:
    expressions, actions = rule.get("expressions", []), rule.get("actions")
    if not _is_list(expressions) or not all(isinstance(text, str) for text in expressions):
        raise Wrong(f"{where}: its expressions are no list of texts")
    if not _is_list(actions) or not actions:
        raise Wrong(f"{where} has no list of actions")
    for action in actions:
        if not isinstance(action, Mapping) or not isinstance(action.get("type"), str):
            raise Wrong(f"{where} has an action without a type")
        if not isinstance(action.get("config") or {}, Mapping):
            raise Wrong(f"{where}: the config of its {action['type']} is no mapping")


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


class FilterModule:
    """Ansible's way to find filters."""

    def filters(self) -> dict[str, t.Callable[..., dict[str, t.Any]]]:
        """Return the filters by name."""
        return {"ngrok_policy": ngrok_policy}
