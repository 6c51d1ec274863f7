# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of ngrok that people meet here. Private to the collection.

The one table for modules, playbooks and documentation. Codes and causes are from ngrok's "Error
reference" (https://ngrok.com/docs/errors) and its limits of the free plan.
"""

from __future__ import annotations

import typing as t

AUTHTOKEN = "https://dashboard.ngrok.com/get-started/your-authtoken"
DOMAINS = "https://dashboard.ngrok.com/domains"


class Error(t.NamedTuple):
    """What a code means, what a person can do, and what ``reconnect`` does.

    It waits where the ``action`` is ``retry``, brings in order what is on the machine where it is
    ``repair``, and says the remedy where it is ``stop``, because only a person can help.
    """

    meaning: str
    remedy: str
    action: t.Literal["retry", "repair", "stop"]


ERRORS = {
    # Said to the agent.
    102: Error("a payment for the account has failed", "See https://dashboard.ngrok.com", "stop"),
    103: Error("the account is suspended", "Ask ngrok's support", "stop"),
    105: Error(
        "the authtoken does not look like one of ngrok's",
        f"Copy it from {AUTHTOKEN}; an API key or a text with quotes around it is something else",
        "stop",
    ),
    106: Error(
        "the authtoken is of a kind that ngrok no longer takes",
        f"Copy a new one from {AUTHTOKEN}",
        "stop",
    ),
    107: Error(
        "the authtoken is well-formed, but not valid (any more)",
        f"It was reset or revoked; copy the present one from {AUTHTOKEN}",
        "stop",
    ),
    108: Error(
        "the account already runs as many agents as its plan allows",
        "Stop one that is not needed; https://dashboard.ngrok.com/agents lists them",
        "stop",
    ),
    115: Error(
        "the account does not let in agents from this machine's address",
        "Change its IP restrictions for agents",
        "stop",
    ),
    116: Error(
        "the authtoken may not be used from this machine, or not for this endpoint",
        "Change its access rules, or take another one",
        "stop",
    ),
    121: Error(
        "the agent is too old for this account",
        "Free accounts take a release for 14 months, paid ones any; reconnect replaces an agent "
        "that this collection installed, and one of your own needs an update",
        "repair",
    ),
    123: Error(
        "the account's e-mail address is not verified", "Follow the link in ngrok's e-mail", "stop"
    ),
    300: Error("the authtoken was revoked", f"Copy another one from {AUTHTOKEN}", "stop"),
    313: Error(
        "the account's plan has no subdomains of one's own",
        f"Leave out ngrok_url, or name the domain that {DOMAINS} lists",
        "stop",
    ),
    314: Error(
        "the account's plan has no host names of one's own",
        f"Leave out ngrok_url, or name the domain that {DOMAINS} lists",
        "stop",
    ),
    319: Error(
        "the account has not reserved this domain",
        f"Correct ngrok_url; {DOMAINS} lists the account's",
        "stop",
    ),
    320: Error(
        "another account has reserved this domain",
        "Correct ngrok_url, or take that account's authtoken",
        "stop",
    ),
    324: Error("the agent has as many endpoints as the plan allows", "Take fewer", "stop"),
    334: Error(
        "an endpoint with this URL is already online",
        "Stop the agent that holds it, or give this one another ngrok_url; a URL that both share "
        "(pooling) would lead now to one notebook and now to the other. After a crash the old "
        "endpoint goes away by itself within a minute; then try again",
        "retry",
    ),
    348: Error(
        "the account has as many agents connected as its plan allows",
        "Stop one that is not needed; https://dashboard.ngrok.com/agents lists them",
        "stop",
    ),
    349: Error(
        "too many agents of the account have connected within a short time",
        "Wait some minutes, then run reconnect",
        "stop",
    ),
    350: Error("the agent has as many endpoints as the plan allows", "Take fewer", "stop"),
    351: Error(
        "too many endpoints of the account were opened within a short time",
        "Wait some minutes, then run reconnect",
        "stop",
    ),
    742: Error(
        "this part of the service is about to be restarted",
        "The agent connects anew by itself",
        "retry",
    ),
    4018: Error(
        "no authtoken was sent",
        "Set ngrok_authtoken, or the environment variable NGROK_AUTHTOKEN; the token is at "
        f"{AUTHTOKEN}",
        "stop",
    ),
    4026: Error("the account's credit is used up", "See https://dashboard.ngrok.com", "stop"),
    6030: Error(
        "another endpoint with this URL is online and does not share it",
        "Stop it, or give this one another ngrok_url",
        "stop",
    ),
    9009: Error(
        "the account's plan does not let agents connect through a proxy",
        "Take the proxy out of the agent's environment",
        "stop",
    ),
    9026: Error("the Traffic Policy is not valid", "Correct ngrok_traffic_policy", "stop"),
    9038: Error(
        "the URL asked for is not valid",
        "Correct ngrok_url: https://, a host name, and nothing after it",
        "stop",
    ),
    9040: Error(
        "ngrok does not serve the country that this machine is in",
        "Nothing can be done here",
        "stop",
    ),
    15002: Error(
        "the account's plan wants a domain to be named",
        f"Set ngrok_url to one that {DOMAINS} lists",
        "stop",
    ),
    15004: Error(
        "the Traffic Policy has more rules than the account's plan allows, which are 5 on the "
        "free one",
        "Take some out of ngrok_traffic_policy, ngrok_allowed_emails (which takes two), "
        "ngrok_allowed_ips and ngrok_login_limit",
        "stop",
    ),
    15013: Error("the account has no domain yet", f"Ask for the free one at {DOMAINS}", "stop"),
    # Said to visitors.
    702: Error("too many connections arrived within a minute", "It goes away by itself", "retry"),
    725: Error(
        "the account's bandwidth of this month is used up",
        "Wait for the next month, or take another plan",
        "stop",
    ),
    726: Error(
        "the account's connections of this month are used up",
        "Wait for the next month, or take another plan",
        "stop",
    ),
    727: Error(
        "the account's requests of this month are used up",
        "Wait for the next month, or take another plan",
        "stop",
    ),
    734: Error("too many requests arrived within a minute", "It goes away by itself", "retry"),
    743: Error(
        "ngrok's service gets more visitors than it can serve at this moment, whoever they are for",
        "It goes away by itself",
        "retry",
    ),
    3004: Error(
        "Jupyter answered with something that is no HTTP",
        "Run setup, which configures the server and the agent for each other",
        "stop",
    ),
    3200: Error("no agent holds this URL now", "Reconnect starts one", "repair"),
    3208: Error("the account was banned", "Ask ngrok's support", "stop"),
    6022: Error(
        "pages are shown to verified accounts with an authtoken only",
        f"Verify the account; the token is at {AUTHTOKEN}",
        "stop",
    ),
    6024: Error("ngrok warns the visitors of free accounts once", "Choose Visit Site", "stop"),
    8012: Error("the agent does not reach Jupyter", "Reconnect starts it", "repair"),
}
