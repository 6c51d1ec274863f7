"""Every way in which the tunnel breaks: what status says of it, and what reconnect does."""

from __future__ import annotations

from tests.support.accounts import Account
from tests.support.breakages import (
    PAGES,
    ended,
    endpoint_dead,
    fault,
    hung,
    killed,
    leads_nowhere,
    leads_through_a_relay,
    other_program,
    port_taken,
    service_away,
    service_unreachable,
    session_lost_without_a_word,
    sessions_dropped,
    taken_by_a_stranger,
)
from tests.support.edge.client import Edge
from tests.support.states import BOTH, NOTHING, State, each_state, meet

STATES = {
    "killed": State(
        killed("ngrok"),
        # tmux 3.3 at times knows of an exit status only later.
        told=(r"The ngrok agent does not run( \(it ended with signal 9\))?\.",),
        repaired="agent",
        kept=("jupyter",),
    ),
    "hung": State(
        hung("ngrok"),
        # Its log goes on to say that it is online.
        told=("The agent says that its endpoint is online, but ",),
        public=True,
        repaired="agent",
        kept=("jupyter",),
        variables={"ngrok_timeout": 10},
    ),
    "service-unreachable": State(
        service_unreachable,
        told=(
            "The ngrok agent runs, but is not connected: The agent cannot reach ngrok's service",
        ),
        kept=("jupyter",),
        says=("not online after 3 s", "cannot reach ngrok's service", "connect.ngrok-agent.com"),
        variables={"ngrok_timeout": 3},
    ),
    "sessions-dropped": State(sessions_dropped, repaired=NOTHING, kept=BOTH),
    "endpoint-dead": State(
        endpoint_dead,
        told=("The agent says that its endpoint is online, but .*ERR_NGROK_3200",),
        public=True,
        repaired="agent",
        kept=("jupyter",),
    ),
    "leads-nowhere": State(
        leads_nowhere,
        told=(
            r"The tunnel leads to http://127\.0\.0\.1:\d+, and not to http://127\.0\.0\.1:\d+\.",
        ),
        kept=("jupyter",),
        says=("The tunnel leads to http://127.0.0.1:", "run setup"),
        variables={"ngrok_timeout": 3},
        repaired_later="agent",
    ),
    "leads-through-a-relay": State(
        leads_through_a_relay,
        told=(
            r"The tunnel leads to http://127\.0\.0\.1:\d+, and not to http://127\.0\.0\.1:\d+\.",
        ),
        kept=("jupyter",),
        says=("The tunnel leads to http://127.0.0.1:", "run setup"),
        closed=True,
        variables={"ngrok_timeout": 3},
        repaired_later="agent",
    ),
}
FURTHER_STATES = {
    "session-ended": State(ended("ngrok"), repaired="agent", kept=("jupyter",)),
    "slow": State(hung("ngrok", 4), repaired=NOTHING, kept=BOTH),
    "of-another-kind": State(
        other_program("ngrok", PAGES),
        repaired="agent",
        kept=("jupyter",),
        variables={"ngrok_timeout": 10},
    ),
    # Its API does without the port, or is off anyway.
    "port-taken": State(port_taken("ngrok"), repaired="agent", kept=("jupyter",)),
    "service-away-for-a-moment": State(service_away, repaired=NOTHING, kept=BOTH),
    # The agent misses its heartbeats at some moment, and connects anew by itself.
    "session-lost-without-a-word": State(
        session_lost_without_a_word, repaired=("agent", NOTHING), kept=("jupyter",)
    ),
    "interstitial": State(fault(interstitial=True), repaired=NOTHING, kept=BOTH),
    "too-many-agents": State(
        fault("ngrok", auth_error="ERR_NGROK_108"),
        kept=("jupyter",),
        says=("Stop one that is not needed",),
        repaired_later="agent",
    ),
    "agent-too-old": State(
        fault("ngrok", auth_error="ERR_NGROK_121"),
        kept=("jupyter",),
        says=("Free accounts take a release for 14 months",),
        repaired_later="agent",
    ),
    "url-taken": State(
        fault("ngrok", bind_error="ERR_NGROK_334"),
        kept=("jupyter",),
        says=("Stop the agent that holds it",),
        repaired_later="agent",
    ),
}
STRANGER = State(
    taken_by_a_stranger,
    told=("is taken by .*account nobody.* To close the tunnel, which ends no kernel: ",),
    kept=("ngrok",),
    says=("is taken by", "account nobody"),
    closed=True,
    repaired_later="server",
)
REVOKED = State(
    fault("ngrok", auth_error="ERR_NGROK_107"),
    kept=("jupyter",),
    says=("ngrok refused with ERR_NGROK_107", "not valid (any more)", "copy the present one"),
    repaired_later="agent",
)


@each_state(STATES, FURTHER_STATES)
def test_what_is_broken_is_told_and_repaired_and_nothing_else(
    state: State, notebook: Account, edge: Edge
) -> None:
    meet(state, notebook, edge)


def test_a_refusal_that_repeats_the_token_shows_it_to_nobody(notebook: Account, edge: Edge) -> None:
    token = str(notebook.variables["ngrok_authtoken"])

    play = meet(REVOKED, notebook, edge, "-vvv")

    assert token not in play.output


def test_a_stranger_on_the_server_s_port_is_named_and_the_tunnel_is_closed(
    notebook: Account, edge: Edge
) -> None:
    meet(STRANGER, notebook, edge)
