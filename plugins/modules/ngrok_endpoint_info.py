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
  - Reads the agent's local API and returns one shape of result for every agent from 2.3 on.
  - Tells an agent that runs from one that is connected to ngrok's service, by its API where that
    has a status, by its log where it has none.
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
    description: Address of the agent's API, C(host:port), as C(web_addr) in its configuration.
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
    type: path
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
  description: Whether an agent's API answers.
  returned: success
  type: bool
  sample: true
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
    - Whether the agent is connected to ngrok's service. Before 3.9 only O(log_file) tells; without
      it the agent is taken for connected.
  returned: always
  type: bool
  sample: true
online:
  description: Whether the agent is connected and lists the endpoint O(name), if one was named.
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
    - The endpoints the agent lists, in no order.
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
      description: How many connections visitors have made since the agent was started.
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


def wait_for(name: str, web_addr: str, log_file: str | None, seconds: int) -> dict[str, t.Any]:
    """Return the module's result once the endpoint ``name`` is online, or is not in time.

    Does not wait for an agent that has given up.
    """
    started = time.monotonic()
    while True:
        log = _ngrok.read_log(log_file)
        result = _ngrok.look(web_addr, name, log)
        if result["online"]:
            return result
        # Without its API the agent is only about to start, unless its log has come to an end.
        ended = result["action"] and not result["running"]
        lingers = result["error_code"] == _ngrok.ALREADY_ONLINE and ended and _ngrok.lingers(log)
        if ended and not lingers:
            return result
        if time.monotonic() - started >= (max(seconds, LINGER) if lingers else seconds):
            late = f"The endpoint {name} is not online after {seconds} s. "
            return result | {"msg": result["msg"] if ended else late + result["msg"]}
        time.sleep(POLL)


def main() -> None:
    """Declare the arguments, look or wait, report."""
    module = AnsibleModule(
        argument_spec={
            "web_addr": {"type": "str", "default": "127.0.0.1:4040"},
            "name": {"type": "str"},
            "wait": {"type": "int", "default": 0},
            "log_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    name, web_addr = module.params["name"], module.params["web_addr"]
    seconds = module.params["wait"]
    if seconds and not name:
        module.fail_json(msg="wait needs the name of the endpoint to wait for")
    try:
        if seconds and not module.check_mode:
            result = wait_for(name, web_addr, module.params["log_file"], seconds)
        else:
            result = _ngrok.look(web_addr, name, _ngrok.read_log(module.params["log_file"]))
    except OSError as exc:
        module.fail_json(msg=str(exc))
    if seconds and not (result["online"] or module.check_mode):
        module.fail_json(**result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
