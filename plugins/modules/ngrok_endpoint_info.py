#!/usr/bin/python
# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the endpoints of the local ngrok agent."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ngrok_endpoint_info
short_description: Report on the ngrok agent of this machine and its endpoints
description:
  - Reads the log of an agent that the role C(ngrok) runs, and asks its local API where that is on.
    Returns one shape of result for every agent from 2.3 on.
  - Tells an agent that runs from one that is connected to ngrok's service, and from one that waits
    for the server it forwards to.
  - Never asks a program of another account, and with O(pid) nobody but that process and what it has
    started.
  - Changes nothing, and does not fail because no agent runs, unless it was asked to wait for an
    endpoint.
extends_documentation_fragment:
  - anywhere.notebook.ngrok_errors
version_added: 0.1.0
author: The anywhere.notebook authors (@anywhere-notebook)
attributes:
  check_mode:
    description: Reads only. Does not wait in check mode, because nothing was started.
    support: full
  diff_mode:
    description: Nothing changes.
    support: none
  idempotent:
    description: Reads only.
    support: full
options:
  web_addr:
    description:
      - Address of the agent's API, C(host:port), as C(web_addr) in its configuration.
      - Where O(log_file) was written by the role C(ngrok), it tells whether there is an API, and
        where.
    type: str
    default: 127.0.0.1:4040
  name:
    description: Name of the endpoint to wait for.
    type: str
  wait:
    description:
      - Seconds to wait for the endpoint O(name).
      - The module returns as soon as the agent is connected and lists it. It fails when the time is
        over, or at once when the agent has given up.
      - An agent that gave up because the endpoint of one that crashed is still there is failed for
        only when that endpoint is gone, and a new start has a chance.
    type: int
    default: 0
  log_file:
    description:
      - The agent's output with C(log_format) V(json), from its start on. A failure then tells the
        error code of ngrok, its meaning and its remedy. Authtokens in it are not repeated.
      - The one that the role C(ngrok) writes has all that is returned, also without an API.
    type: path
  pid:
    description:
      - Process of the session in which the agent runs. What another one has written to O(log_file),
        or answers on O(web_addr), does not count.
    type: int
    default: 0
  upstream:
    description:
      - Where the endpoint O(name) has to forward to. One that leads elsewhere is not online, and
        its URL is not returned.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: See what the agent does
  anywhere.notebook.ngrok_endpoint_info:
  register: agent

- name: Wait for the endpoint
  anywhere.notebook.ngrok_endpoint_info:
    name: jupyter
    wait: 30
    log_file: ~/.local/share/anywhere-notebook/ngrok/agent.log
"""

RETURN = r"""
running:
  description: Whether the agent runs, and its API, where that is on, answers.
  returned: success
  type: bool
  sample: true
waiting:
  description:
    - Whether no agent runs because the server it forwards to does not. It is started by itself once
      the server listens.
  returned: always
  type: bool
  sample: false
api:
  description: V(on) or V(off), as the agent's API is; empty when O(log_file) does not tell.
  returned: always
  type: str
  sample: "off"
api_reason:
  description: Why it is, as a part of a sentence; empty when O(log_file) does not tell.
  returned: always
  type: str
  sample: "others can log in: zoe"
msg:
  description: What was met, as a sentence.
  returned: always
  type: str
  sample: "The agent answers on 127.0.0.1:4040 with 1 endpoint."
version:
  description: Version of the agent; empty before 3.9, which does not tell.
  returned: success
  type: str
  sample: 3.39.9
status:
  description: The agent's own word on its session with ngrok; empty before 3.9, which has none.
  returned: success
  type: str
  sample: online
connected:
  description:
    - Whether the agent is connected to ngrok's service. Without an API, and before 3.9, only
      O(log_file) tells; an older agent without it is taken for connected.
  returned: always
  type: bool
  sample: true
online:
  description:
    - Whether the agent is connected and has the endpoint O(name), if one was named, and that leads
      to O(upstream).
  returned: always
  type: bool
  sample: true
error_code:
  description: The code with which ngrok refused, as O(log_file) has it; empty otherwise.
  returned: always
  type: str
  sample: ERR_NGROK_334
action:
  description:
    - What helps an agent that is not connected. With V(retry) it comes back by itself, or can be
      started anew; V(repair) takes a change on this machine; with V(stop) only a person can help.
      Empty where nothing is wrong, or nothing is known.
  returned: always
  type: str
  sample: retry
endpoints:
  description:
    - The endpoints of the agent, in no order.
    - An agent that lost its session may list dead ones, and one that came back with another URL the
      old one (both seen with agent 2.3). Only a request to the URL proves it.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name in the agent's configuration.
      type: str
      sample: jupyter
    url:
      description: Public URL.
      type: str
      sample: https://example.ngrok.app
    upstream:
      description: Where the agent forwards to.
      type: str
      sample: http://127.0.0.1:8888
    proto:
      description: Protocol of the endpoint.
      type: str
      sample: https
    connections:
      description:
        - How many connections visitors have made since the agent was started; without an API, those
          to all its endpoints.
      type: int
      sample: 12
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.anywhere.notebook.plugins.module_utils import _ngrok

POLL = 0.1
# The service gives up an agent that crashed within a minute.
LINGER = 75


def wait_for(params: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the module's result once the endpoint is online, or is not in time.

    Does not wait for an agent that has given up, nor where waiting does not help.
    """
    name, seconds = params["name"], params["wait"]
    started = time.monotonic()
    while True:
        log = _ngrok.read_log(params["log_file"], params["pid"])
        result = look(params, log)
        if result["online"]:
            return result
        in_vain = "stop" if result["waiting"] else "repair"
        if result["action"] == in_vain and not result["error_code"]:
            return result
        # An agent that does not run is only about to start, unless its log has come to an end.
        ended = result["action"] and not (result["running"] or result["waiting"])
        lingers = result["error_code"] == _ngrok.ALREADY_ONLINE and ended and _ngrok.lingers(log)
        if ended and not lingers:
            return result
        if time.monotonic() - started >= (max(seconds, LINGER) if lingers else seconds):
            late = f"The endpoint {name} is not online after {seconds} s. "
            return result | {"msg": result["msg"] if ended else late + result["msg"]}
        time.sleep(POLL)


def look(params: dict[str, t.Any], log: str) -> dict[str, t.Any]:
    """Return the module's result for an agent that has written ``log``."""
    return _ngrok.look(params["web_addr"], params["name"], log, params["pid"], params["upstream"])


def main() -> None:
    """Declare the arguments, look or wait, report."""
    module = AnsibleModule(
        argument_spec={
            "web_addr": {"type": "str", "default": "127.0.0.1:4040"},
            "name": {"type": "str"},
            "wait": {"type": "int", "default": 0},
            "log_file": {"type": "path"},
            "pid": {"type": "int", "default": 0},
            "upstream": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    seconds = module.params["wait"]
    if seconds and not module.params["name"]:
        module.fail_json(msg="wait needs the name of the endpoint to wait for")
    try:
        if seconds and not module.check_mode:
            result = wait_for(module.params)
        else:
            result = look(
                module.params, _ngrok.read_log(module.params["log_file"], module.params["pid"])
            )
    except OSError as exc:
        module.fail_json(msg=str(exc))
    if seconds and not (result["online"] or module.check_mode):
        module.fail_json(**result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
