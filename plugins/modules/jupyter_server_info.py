#!/usr/bin/python
# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the Jupyter server at a URL and its kernels."""

from __future__ import annotations

DOCUMENTATION = r"""
module: jupyter_server_info
short_description: Report on a Jupyter server and its kernels
description:
  - Asks a Jupyter server for its version and, with a token, for its kernels and the notebooks they
    belong to.
  - Works on the machine itself and, with a public URL, from anywhere. With O(challenge), which one
    call on the machine returns, another one proves that the URL leads to that machine's server,
    before any secret is sent there; see RV(proven).
  - Changes nothing, and does not fail because nothing runs.
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
  url:
    description: Base URL of the server.
    type: str
    default: http://127.0.0.1:8888
  token_file:
    description:
      - File on the host that holds the server's token. Without it, only what needs no login is
        returned.
      - It is read only when a server answers, and sent only on this machine, to a program of the
        account that runs the module.
    type: path
  pid:
    description:
      - Process id below which the server runs, such as the one M(anywhere.notebook.tmux_session)
        returns. With O(token_file), no other program is asked, and RV(exposed) tells where else
        this process listens.
    type: int
    default: 0
  log_file:
    description:
      - File on the host that holds the server's log. When the server has no answer, it tells
        whether strangers try to log in, see RV(attacked).
    type: path
  challenge:
    description:
      - What the server at O(url) has to prove, from RV(challenge) of a call on its machine.
    type: dict
    suboptions:
      nonce:
        description: What the server is asked, hexadecimal.
        type: str
        required: true
      answer:
        description: What only that server can answer.
        type: str
        required: true
  password:
    description:
      - Password to type on the login page, as a person would, once the server is RV(proven); not at
        all otherwise. See RV(login).
    type: str
  wait:
    description: Seconds to wait for the server to answer.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: See what runs
  anywhere.notebook.jupyter_server_info:
    token_file: ~/.local/share/anywhere-notebook/jupyter/token
  register: server

- name: Stop when somebody computes
  ansible.builtin.assert:
    that: server.kernels | selectattr('execution_state', 'eq', 'busy') | length == 0

- name: Prove that the public URL leads to this machine's server, from this computer
  anywhere.notebook.jupyter_server_info:
    url: https://example.ngrok.app
    challenge: "{{ server.challenge }}"
    wait: 10
  delegate_to: localhost
  register: public
  failed_when: not public.proven or public.exposed
"""

RETURN = r"""
running:
  description: Whether a Jupyter server answers at the URL.
  returned: always
  type: bool
  sample: true
msg:
  description: What was met, as a sentence; the reason when no server answers.
  returned: always
  type: str
  sample: "http://127.0.0.1:8888 does not answer: Connection refused"
url:
  description: Base URL that was asked.
  returned: always
  type: str
  sample: http://127.0.0.1:8888
answered:
  description: Whether anything answers at the URL, be it Jupyter or not.
  returned: always
  type: bool
  sample: true
error_code:
  description: The code of ngrok's own page, where that is what answers; empty otherwise.
  returned: always
  type: str
  sample: ERR_NGROK_3200
proven:
  description:
    - Whether the server at the URL has answered O(challenge), and so is the one that was meant;
      V(false) without it. RV(msg) has the reason where it has not.
  returned: always
  type: bool
  sample: true
exposed:
  description:
    - Why strangers can use the server, a sentence; empty when they cannot. It serves those who have
      not logged in, or listens on more than loopback, which is seen with O(token_file).
  returned: always
  type: str
  sample: The Jupyter server listens on 0.0.0.0:8888, where other machines can reach it.
challenge:
  description:
    - With O(token_file), a new O(challenge); empty without it, and when the server's guard does not
      run, as in a server that an earlier release or something else has started.
  returned: always
  type: dict
  sample: {nonce: 8f0e2c, answer: 5b1d77}
login:
  description:
    - V(accepted), V(refused) or, when too many logins have failed and O(wait) is over before the
      next one is taken, V(limited); empty without O(password), or a login page.
  returned: always
  type: str
  sample: accepted
version:
  description: Version of jupyter_server; empty when no server answers, or it is RV(proven).
  returned: always
  type: str
  sample: 2.21.1
pid:
  description: Process id of the server; 0 without O(token_file), or when it is not visible.
  returned: always
  type: int
  sample: 4711
started:
  description: Start of the server, ISO 8601 in UTC; empty when unknown.
  returned: always
  type: str
  sample: "2026-11-23T09:00:00.000000Z"
last_activity:
  description: Last activity of the server, ISO 8601 in UTC; empty when unknown.
  returned: always
  type: str
  sample: "2026-11-23T09:30:00.000000Z"
terminals:
  description: Names of the terminals that are open; empty without O(token_file).
  returned: always
  type: list
  elements: str
  sample: ["1"]
outputs_kept:
  description:
    - Whether what cells print while no page is open is kept; V(false) without O(token_file).
  returned: always
  type: bool
  sample: true
outputs_problem:
  description: Why it is not, where it was to be; empty otherwise.
  returned: always
  type: str
  sample: jupyterlab is 5.0.0, not 4.6 or newer and below 4.7
page_problem:
  description:
    - Why no page opens for a person who has logged in; empty when one does, and without
      O(token_file).
  returned: always
  type: str
  sample: GET /lab is not JupyterLab
failed_logins:
  description: Logins that failed in the last 24 hours; V(0) without RV(challenge).
  returned: always
  type: int
  sample: 0
last_failed_login:
  description: When the last one failed, ISO 8601 in UTC; empty when unknown.
  returned: always
  type: str
  sample: "2026-11-23T09:30:00Z"
attacked:
  description: Whether strangers try passwords now.
  returned: always
  type: bool
  sample: false
sessions_since:
  description:
    - When all who were logged in have last been logged out, as by a new password, ISO 8601 in UTC;
      empty when unknown.
  returned: always
  type: str
  sample: "2026-11-23T09:00:00Z"
kernels:
  description: The kernels that are alive; empty without O(token_file).
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: Id of the kernel.
      type: str
    name:
      description: Name of its kernel specification.
      type: str
    path:
      description: Notebook it belongs to, relative to the server's root; empty without one.
      type: str
    execution_state:
      description: V(starting), V(idle) or V(busy), as the kernel said last.
      type: str
    last_activity:
      description: Last activity of the kernel, ISO 8601 in UTC.
      type: str
    idle_seconds:
      description: Seconds since its last activity, by the host's clock; V(0) while it is busy.
      type: int
    pid:
      description: Its process id; V(0) when it is on another machine or not visible.
      type: int
    memory_mb:
      description: Memory of it and of all that it has started, in MB; V(0) without a process id.
      type: int
    died:
      description:
        - When it died and was started anew, which loses its variables, ISO 8601 in UTC. Empty when
          it has not, or a cell was executed since, or outputs are not kept.
      type: str
    died_of:
      description: What it died of, as far as that is known; empty otherwise.
      type: str
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.anywhere.notebook.plugins.module_utils import _jupyter


def main() -> None:
    """Declare the arguments, look, report."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "default": "http://127.0.0.1:8888"},
            "token_file": {"type": "path", "no_log": False},
            "pid": {"type": "int", "default": 0},
            "log_file": {"type": "path"},
            "challenge": {
                "type": "dict",
                "options": {
                    "nonce": {"type": "str", "required": True},
                    "answer": {"type": "str", "required": True, "no_log": True},
                },
            },
            "password": {"type": "str", "no_log": True},
            "wait": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    params = module.params
    url, wait = params.pop("url").rstrip("/"), params.pop("wait")
    try:
        deadline = time.monotonic() + (0 if module.check_mode else wait)
        result = _jupyter.look(url, deadline, **params)
    except (_jupyter.JupyterError, OSError) as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
