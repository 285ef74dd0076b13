"""How long the end of a stack in a Ray job may take. Needs Ray, and no cluster."""

import pytest

from penstock.launcher import supervisor
from penstock.ray import actors, processes, stack, workers

pytestmark = pytest.mark.engines


def test_a_stack_has_the_time_to_end_that_its_actor_may_need() -> None:
    """Its thread, workers, further sinks and services end one after the other; else it would be killed before."""
    thread, others = actors._ASK_S + actors._ANSWER_S, processes.DRAIN_S + workers._GONE_S + actors._ANSWER_S
    services = supervisor._DRAIN_S + supervisor._STOP_S + 2 * supervisor._KILLED_S
    assert thread + others + services < stack._STOP_S
