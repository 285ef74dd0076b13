"""The number of workers that there should be: follows a lasting need, by steps, within bounds, and does not flap."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from support.cores.recorded_demands import KERAS_WITH_VALIDATION, NUMPY_THAT_GETS_FASTER, NUMPY_WITH_PAUSES
from support.cores.scaled_stack import RATE, noisy, stack

from penstock.protocol.errors import SpecError
from penstock.ventilator.monitoring.scaling import Scaler, ScalingPolicy, needed
from penstock.ventilator.monitoring.verdict import Evidence, judge

#: Demands; how often the number may turn in three times their length, which the last one does five times by itself; and
#: the part of the demand that is served: the latter two go up and down by a factor of five within seconds.
RECORDED = {
    "Keras with validation": (KERAS_WITH_VALIDATION, 2, 0.9),
    "numpy with pauses": (NUMPY_WITH_PAUSES, 2, 0.85),
    "numpy that gets faster": (NUMPY_THAT_GETS_FASTER, 5, 0.75),
}
BUSY = Evidence(
    8.0, wait_fraction=0.5, trainers=1, workers=4, make_s=32.0, items=100, delivered=100, wanted=90, open=64.0
)


@pytest.mark.parametrize("start_s", [0.0, 5.0, 90.0])
@pytest.mark.parametrize("share", [0.5, 1.0, 2.2, 7.9, 40.0])
def test_it_finds_the_number_that_a_steady_trainer_needs_and_stays_there(share: float, start_s: float) -> None:
    """A trainer that takes what `share` workers make gets so many, or the few less that the verdict tolerates."""
    simulated = stack(lambda _: share * RATE, start_s=start_s)
    simulated.run(1200)
    found = simulated.here[-1]
    assert max(1, math.floor(0.9 * share)) <= found <= max(1, math.ceil(share / 0.8))
    assert set(simulated.here[-600:]) == {found}
    assert simulated.turns() == 0


@pytest.mark.parametrize("spread", [0.1, 0.3])
def test_noise_makes_it_change_rarely(spread: float) -> None:
    """A demand that varies by a factor from second to second is not followed up and down."""
    simulated = stack(noisy(lambda _: 6 * RATE, spread))
    simulated.run(3600)
    assert simulated.turns() <= 2
    assert 4 <= simulated.here[-1] <= 9


def test_pauses_for_evaluation_do_not_cost_workers() -> None:
    """A trainer that evaluates for 30 s after every 3 minutes of training keeps its workers."""
    simulated = stack(lambda now: 0.0 if now % 210 >= 180 else 8 * RATE, drain_s=25.0)
    simulated.run(3600)
    assert simulated.turns() == 0
    assert simulated.here[-1] >= 7


def test_a_day_is_followed_with_few_changes() -> None:
    """A demand that swings slowly is followed up and down, one turn for each of its turns."""
    simulated = stack(
        noisy(lambda now: (6 + 5 * math.sin(now / 3600 * 2 * math.pi)) * RATE, 0.1), start_s=30.0, drain_s=25.0
    )
    simulated.run(2 * 3600)
    assert simulated.turns() <= 6
    assert max(simulated.here) >= 10
    assert min(simulated.here[3600:]) <= 3


@pytest.mark.parametrize("rate", [5.0, 12.0, 40.0])
@pytest.mark.parametrize("name", RECORDED)
def test_the_recorded_demand_of_a_training_is_served_without_flapping(name: str, rate: float) -> None:
    """Real trainings, over and over, on workers of three speeds that take 25 s to leave: few turns, much is served."""
    recorded, most_turns, least_served = RECORDED[name]

    def demand(now: float) -> float:
        return recorded[int(now) % len(recorded)] / rate * RATE

    simulated = stack(demand, start_s=10.0, drain_s=25.0)
    simulated.run(3 * len(recorded))
    later = range(len(recorded), 3 * len(recorded))
    served = sum(min(demand(second + 1), simulated.here[second] * RATE) for second in later)
    assert served >= least_served * sum(demand(second + 1) for second in later)
    assert simulated.turns() <= most_turns
    assert max(simulated.here) <= math.ceil(max(recorded) / rate / 0.8)


def test_a_step_is_followed_by_doubling_and_by_halving() -> None:
    """The number at most doubles, or grows by two, and at most halves; it arrives within minutes."""
    simulated = stack(lambda now: (32 if now < 900 else 2) * RATE)
    simulated.run(900)
    assert 28 <= simulated.here[-1] <= 40
    simulated.run(900)
    assert 2 <= simulated.here[-1] <= 3
    known = [wanted for wanted in simulated.wanted if wanted >= 0]
    assert all(before // 2 <= after <= max(2 * before, before + 2) for before, after in pairwise(known))


@pytest.mark.parametrize("drain_s", [20.0, 30.0])
def test_workers_that_take_their_time_to_leave_do_not_make_it_swing(drain_s: float) -> None:
    """They are counted, and idle, while they drain: the number still falls to what is needed, once, and no further.

    It rises again as fast while some of them are still there.
    """
    simulated = stack(lambda now: (2 if 600 <= now < 1200 else 16) * RATE, drain_s=drain_s)
    simulated.run(600)
    high = simulated.here[-1]
    assert 14 <= high <= 20
    simulated.run(600)
    assert 2 <= simulated.here[-1] <= 3
    simulated.run(600)
    assert 14 <= simulated.here[-1] <= 20
    assert 2 == simulated.turns()
    early = stack(lambda now: (2 if 600 <= now < 690 else 16) * RATE, drain_s=drain_s)
    early.run(1200)
    assert 14 <= early.here[-1] <= 20
    assert early.turns() <= 2


def test_machines_without_room_do_not_wind_it_up() -> None:
    """Where no more workers can be had, the number stays what is needed, and falls like any other."""
    simulated = stack(lambda now: (20 if now < 1200 else 2) * RATE, room=4)
    simulated.run(1200)
    assert simulated.here[-1] == 4
    assert simulated.wanted[-1] <= 25
    simulated.run(600)
    assert simulated.here[-1] <= 3


@pytest.mark.parametrize("every_s", [5, 20, 45])
def test_workers_that_keep_dying_do_not_stop_it(every_s: int) -> None:
    """On machines that are taken away again and again, the number still rises to what is needed."""
    simulated = stack(lambda _: 12 * RATE)
    for _ in range(1800 // every_s):
        simulated.run(every_s)
        simulated.workers = max(1, simulated.workers - 1)
    assert simulated.wanted[-1] >= 8


def test_what_a_standstill_leaves_behind_is_no_need_for_workers() -> None:
    """While no sink is here for long, nothing is said of workers; just after that, all waited, whatever their number.

    More are asked for only once they have been needed for `up_s` since then, as ever.
    """
    scaler = Scaler(ScalingPolicy(), 0.0)
    fed, stalled = replace(BUSY, wait_fraction=0.02), replace(BUSY, sink=False)
    course = [*[fed] * 30, *[stalled] * 15, *[BUSY] * 8, *[fed] * 5]
    assert {4} == {scaler.hear(seen, judge(seen), float(now)).wanted for now, seen in enumerate(course)} - {None}
    lasting = [scaler.hear(BUSY, judge(BUSY), float(now)).wanted for now in range(len(course), len(course) + 12)]
    assert 8 == lasting[-1]


def test_bounds_hold_and_are_said() -> None:
    """No number outside of the bounds is asked for, and the sentence says that a bound was met."""
    simulated = stack(lambda now: (20 if now < 600 else 0.1) * RATE, ScalingPolicy(least=2, most=6))
    answer = simulated.run(600)
    assert answer.wanted == 6
    assert answer.most == 6
    assert "6 is the most that are allowed" in answer.sentence
    answer = simulated.run(900)
    assert answer.wanted == 2
    assert {wanted for wanted in simulated.wanted if wanted >= 0} <= set(range(2, 7))


def test_bounds_that_contradict_each_other_are_an_error() -> None:
    """The message names both settings and values."""
    with pytest.raises(SpecError, match="workers_most = 2 is below workers_least = 5"):
        ScalingPolicy(least=5, most=2)


def test_the_first_worker_is_asked_for_at_once_and_the_last_is_let_go() -> None:
    """With a least number of 0, an idle stack wants no worker after a while, and one as soon as there is a task."""
    scaler = Scaler(ScalingPolicy(least=0), 0.0)
    idle = Evidence(8.0, workers=1, idle_s=8.0)
    answers = [scaler.hear(idle, judge(idle), float(now)) for now in range(80)]
    assert 0 == answers[-1].wanted
    none = Evidence(8.0, trainers=1, wanted=30)
    answer = scaler.hear(none, judge(none), 81.0)
    assert 1 == answer.wanted
    assert "30 tasks wait and no worker is here" in answer.sentence


def test_nothing_is_said_before_anything_is_known() -> None:
    """After a restart of the ventilator, workers that are still coming back are not let go."""
    scaler = Scaler(ScalingPolicy(), 0.0)
    for now, workers in enumerate([0, 3, 9, 16, 16]):
        coming = Evidence(2.0, workers=workers)
        assert scaler.hear(coming, judge(coming), float(now)).wanted is None
    seen = Evidence(2.0, workers=16)
    settled = [scaler.hear(seen, judge(seen), float(now)).wanted for now in range(5, 16)]
    assert 16 == settled[-1]
    assert {None, 16} == set(settled)


@pytest.mark.parametrize(
    ("seen", "workers"),
    [
        (BUSY, 8),
        (replace(BUSY, wait_fraction=0.02, make_s=8.0, idle_s=24.0), 2),
        (replace(BUSY, wait_fraction=0.02), 4),
        (replace(BUSY, read_s=30.0, make_s=2.0), 4),
        (replace(BUSY, make_s=4.0, idle_s=28.0, under_way=10.0), 1),
        (replace(BUSY, trainers=0, wait_fraction=None, writers=1), 4),
        (replace(BUSY, trainers=0, wait_fraction=None), 0),
        (replace(BUSY, trainers=0, wait_fraction=None, stopped="too many failures"), 0),
        (replace(BUSY, sink=False), None),
        (replace(BUSY, seconds=1.0), None),
    ],
)
def test_what_the_evidence_asks_for(seen: Evidence, workers: int | None) -> None:
    """More if workers limit, fewer if they idle, the same where something else limits, nothing if it is not known."""
    opinion = needed(seen, judge(seen))
    assert workers == (opinion[0] if opinion else None)


def test_the_reason_tells_the_price() -> None:
    """More workers are said with what they cost and what they bring."""
    _, why = needed(BUSY, judge(BUSY)) or (0, "")
    assert why == (
        "the trainer waited 50% of its time; 4 more workers, a core each, would make its epochs take 56% of the time"
    )
    _, why = needed(hungry := replace(BUSY, wait_fraction=1.0), judge(hungry)) or (0, "")
    assert why.endswith("more workers, a core each, would make its epochs far shorter")
