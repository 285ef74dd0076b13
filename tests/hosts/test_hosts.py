"""Ventilator, sink, workers and trainer on hosts of their own: the same bytes, whatever becomes of the network."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hosts.clock import Clock
from hosts.cluster import Cluster
from hosts.conftest import BATCHES
from hosts.lab import Host, Job
from support.streams import digest, make_spec, make_stream, run_stack, take, until

from penstock.protocol.runtime.health import fetch

pytestmark = pytest.mark.hosts

#: What the trainer must have in the end.
Answer = dict[str, Any]


@pytest.fixture
def complete(reference: str) -> Answer:
    """Return what a trainer says that has all batches, and those of an undisturbed local run."""
    return {"batches": BATCHES, "digest": reference}


def events(job: Job) -> list[dict[str, Any]]:
    """Return a service's log."""
    return [json.loads(line) for line in job.said.splitlines() if line.startswith("{")]


def logged(job: Job, event: str) -> list[dict[str, Any]]:
    """Return a service's log lines of one kind."""
    return [line for line in events(job) if line["event"] == event]


def saying(job: Job, event: str) -> Callable[[], list[dict[str, Any]]]:
    """Return what finds log lines of one kind, for `until`."""
    return lambda: logged(job, event)


def test_one_address_one_root_and_a_key_make_a_worker(cluster: Cluster, complete: Answer) -> None:
    """Only the trainer is told where the sink is; no host's name can be looked up; no root is where the spec says.

    One worker sees its images by a mount of its own, and its line takes no packets of the usual size.
    """
    cluster.start_ventilator()
    cluster.start_sink()
    cluster.start_trainer()
    cluster.add("a", "worker")
    cluster.start_worker("a")
    cluster.add("b", "worker").ip("link", "set", "eth0", "mtu", "1280")
    mount = cluster.lab.folder / "mnt"
    settings = {"root": f"photos={mount}"}
    cluster.start_worker("b", settings=settings, mounts={mount: cluster.images("b")})
    until(lambda: 2 == cluster.status("ventilator").get("workers"), "two workers")
    assert complete == cluster.read(BATCHES)
    assert [] == list(mount.iterdir()), "it is a mount of that host only"
    until(lambda: cluster.status("sink")["results"]["accepted"] >= 60, "the sink to show what it has accepted")
    assert {"trainers": 0, "segments": 0} == cluster.status("sink")["sharing"], "hosts share no memory"


def test_everything_works_over_ipv6(cluster: Cluster, complete: Answer) -> None:
    """Addresses in brackets; the sink finds its own towards the ventilator."""
    cluster.start_all(["a"], six=True)
    assert complete == cluster.read(BATCHES)


def test_a_sink_beside_the_ventilator_is_found_by_workers_of_other_hosts(cluster: Cluster, complete: Answer) -> None:
    """It knows the ventilator as 127.0.0.1, and no address of its own: each worker fills in what leads there."""
    cluster.start_ventilator()
    sink = cluster.start_sink(on="ventilator", ventilator="tcp://127.0.0.1:5555")
    assert "tcp://*:5556" == until(saying(sink, "serving"), "the sink")[0]["advertised"]
    cluster.add("a", "worker")
    worker = cluster.start_worker("a")
    cluster.start_trainer(sink="ventilator")
    assert complete == cluster.read(BATCHES)
    assert f"tcp://{cluster.hosts['ventilator'].address}:5556" == logged(worker, "welcomed")[-1]["sink"]


@pytest.mark.parametrize(
    ("advertised", "words"),
    [
        ("tcp://127.0.0.1:5556", "that is this host itself"),
        ("tcp://sink.invalid:5556", "cannot look 'sink.invalid' up"),
    ],
)
def test_a_worker_that_cannot_reach_the_sink_says_why(
    cluster: Cluster, complete: Answer, advertised: str, words: str
) -> None:
    """In its log and its health, and to the ventilator; a sink with a better address is all it takes."""
    ventilator = cluster.start_ventilator()
    sink = cluster.start_sink(advertise=advertised)
    worker = cluster.start_worker(cluster.add("a", "worker").name)
    cluster.start_trainer()
    cluster.ask(BATCHES)
    note = until(saying(ventilator, "worker cannot reach the sink"), "the ventilator to say so")[0]
    assert words in note["why"]
    assert advertised in note["why"]
    assert words in until(saying(worker, "results do not get to the sink"), "the worker to say so")[0]["why"]

    def says_why() -> bool:
        """Return whether its health gives the reason; a busy machine may have it greet the ventilator anew."""
        status = cluster.status("a")
        return (False, note["why"]) == (status["ready"], status["why"])

    until(says_why, "the worker's health to say why")
    sink.kill()
    cluster.start_sink()
    assert complete == cluster.answer()
    # It got tasks again because the ventilator knew: by its word, or because it had lost the worker and met it anew.
    assert logged(ventilator, "worker reaches the sink again") or 1 < len(logged(ventilator, "worker joined"))
    until(lambda: cluster.status("a")["ready"], "the worker to be well")


@pytest.mark.parametrize("name", ["a", "trainer", "ventilator", "sink"])
def test_a_host_that_drops_off_comes_back(cluster: Cluster, complete: Answer, name: str) -> None:
    """Its cable is pulled out while all are busy, until all have noticed, and put back."""
    cluster.start_all(["a", "b"])
    cluster.read(5)
    cluster.ask(BATCHES - 5)
    cluster.hosts[name].plug(into_switch=False)
    noticed: dict[str, Callable[[], object]] = {
        "a": lambda: 1 == cluster.status("ventilator").get("workers"),
        "trainer": lambda: 0 == cluster.status("sink").get("trainers"),
        "ventilator": lambda: not cluster.status("a").get("ready") and not cluster.status("b").get("ready"),
        "sink": lambda: cluster.status("ventilator").get("sink") is False,
    }
    until(noticed[name], "the others to notice")
    cluster.hosts[name].plug(into_switch=True)
    assert complete == cluster.answer()
    until(lambda: 2 == cluster.status("ventilator").get("workers"), "both workers")
    until(lambda: cluster.status("ventilator").get("sink"), "the sink")


def test_a_fifth_of_all_packets_lost_costs_time_only(cluster: Cluster, complete: Answer) -> None:
    """In both directions, on every host's line."""
    cluster.start_all(["a", "b"])
    for host in cluster.hosts.values():
        host.filter("INPUT", "-m", "statistic", "--mode", "random", "--probability", "0.2", "-j", "DROP")
    assert complete == cluster.read(BATCHES, seconds=120)


def test_a_slow_line_to_the_sink_carries_each_result_about_once(cluster: Cluster, complete: Answer) -> None:
    """All of it passes one line of 2 Mbit/s, where results queue for longer than the ventilator waits for one."""
    cluster.start_all(["a", "b"])
    cluster.hosts["sink"].slow("2mbit")
    assert complete == cluster.read(BATCHES, seconds=120)
    until(lambda: cluster.status("sink")["results"]["accepted"] >= 60, "the sink to show what it has accepted")
    results = cluster.status("sink")["results"]
    assert results.get("duplicate", 0) + results.get("unwanted", 0) <= 30, results


def test_a_result_that_takes_longer_than_any_heartbeat_arrives(cluster: Cluster) -> None:
    """While one frame of 1 MB comes over 600 kbit/s, nothing else can be heard from its sender."""
    cluster.spec = make_spec(
        cluster.photos,
        train=make_stream(
            transform={"resize": {"height": 150, "width": 150}}, patches=1, mix=1, task_items=16, batch_size=16
        ),
    )
    with run_stack(cluster.spec, workers=1) as stack:
        first = digest(take(stack.feed(), 1))
    cluster.start_all(["a"])
    cluster.hosts["a"].slow("600kbit")
    assert {"batches": 1, "digest": first} == cluster.read(1, seconds=90)
    accepted = until(lambda: cluster.status("sink")["results"].get("accepted"), "the sink to show what it has accepted")
    assert 1 == accepted, "the next one takes its time, too"


def test_a_trainer_behind_a_line_that_takes_longer_for_a_message_than_silence_gets_on(cluster: Cluster) -> None:
    """While one message comes, nothing else can be heard from the sink: that is no reason to begin again for ever."""
    cluster.start_all(["a", "b"])
    first = cluster.read(1)
    cluster.hosts["trainer"].slow("250kbit", latency="2s")
    assert first["batches"] + 8 == cluster.read(8, seconds=120)["batches"]
    assert cluster.trainer
    assert "the sink is silent" in cluster.trainer.said, "the line was not slow enough to test anything"


def cut_control(host: Host) -> None:
    """Let nothing pass between a worker and the ventilator."""
    host.filter("OUTPUT", "-p", "tcp", "--dport", "5555", "-j", "DROP")
    host.filter("INPUT", "-p", "tcp", "--sport", "5555", "-j", "DROP")


def test_results_pass_and_control_does_not(cluster: Cluster, complete: Answer) -> None:
    """The ventilator takes it for lost, the worker says hello in vain; then all is as before."""
    cluster.start_all(["a", "b"])
    cluster.read(5)
    cluster.ask(20)
    cut_control(cluster.hosts["a"])
    assert 25 == cluster.answer()["batches"]
    until(lambda: 1 == cluster.status("ventilator").get("workers"), "the ventilator to give the worker up")
    until(lambda: not cluster.status("a")["ready"], "the worker to notice")
    cluster.hosts["a"].open()
    until(lambda: 2 == cluster.status("ventilator").get("workers"), "the worker to come back")
    assert complete == cluster.read(BATCHES - 25)


def test_control_passes_and_results_do_not(cluster: Cluster, complete: Answer) -> None:
    """The worker says so, and another one gets its work; once results pass, it works again."""
    cluster.start_all(["a"])
    cluster.read(5)
    cluster.hosts["a"].filter("OUTPUT", "-p", "tcp", "--dport", "5556", "-j", "DROP")
    cluster.ask(20)
    until(lambda: "no sink takes results" in cluster.status("a")["why"], "the worker to say so")
    until(saying(cluster.jobs["ventilator"], "worker cannot reach the sink"), "the ventilator to hear of it")
    cluster.start_worker(cluster.add("b", "worker").name)
    assert 25 == cluster.answer()["batches"]
    until(lambda: 2 == cluster.status("ventilator").get("workers"), "both workers")
    cluster.hosts["a"].open()
    until(lambda: cluster.status("a")["ready"], "the worker's results to pass")
    assert complete == cluster.read(BATCHES - 25)


#: Of a packet that carries a part of a result, or many words at once; hello and heartbeats alone are smaller.
LARGE = ("-m", "length", "--length", "800:65535")


def test_a_line_that_drops_large_packets_does_not_eat_the_stream(cluster: Cluster, complete: Answer) -> None:
    """A tunnel's MTU that no host knows of: hello and heartbeats pass, results vanish, their sender wants more.

    The ventilator notices whose results do not arrive, and leaves the work to the others until they do. Nothing is
    hedged, and no stall of a busy machine passes for a loss: what others have made first is not missed.
    """
    cluster.start_all(["a"], hedge_s=60, silence_s=30)
    ventilator, host = cluster.jobs["ventilator"], cluster.hosts["a"]
    host.filter("OUTPUT", "-p", "tcp", "--dport", "5556", *LARGE, "-j", "DROP")
    cluster.ask(30)
    until(host.dropped, "a result to vanish")  # with another worker there, this one might have made none
    cluster.start_worker(cluster.add("b", "worker").name)
    assert 30 == cluster.answer()["batches"]
    [note, *_] = until(saying(ventilator, "results do not arrive"), "the ventilator to notice")
    assert note["worker"].startswith("a/")
    host.open()
    assert complete == cluster.read(BATCHES - 30)


def test_a_line_that_drops_what_is_large_on_every_link_costs_time_only(cluster: Cluster, complete: Answer) -> None:
    """What a worker says to the ventilator sticks too, once much of it goes into one packet: it falls silent."""
    cluster.start_all(["a", "b"])
    cluster.hosts["a"].filter("OUTPUT", *LARGE, "-j", "DROP")
    assert 30 == cluster.read(30)["batches"]
    cluster.hosts["a"].open()
    assert complete == cluster.read(BATCHES - 30)


def test_links_that_a_nat_forgot_are_opened_again(cluster: Cluster, complete: Answer) -> None:
    """No packet of a connection that exists passes any more, without a notice; new ones are fine."""
    cluster.start_all(["a"])
    cluster.read(5)
    links = {"a": (5555, 5556), "trainer": (5557,), "sink": (5555,)}
    for name, services in links.items():
        host = cluster.hosts[name]
        until(lambda h=host, s=services: len(s) == len(h.ports(*s)), f"one link of {name} to each")  # type: ignore[misc]
        assert len(services) == host.forget(*services)
    assert complete == cluster.read(BATCHES - 5)


@pytest.mark.parametrize("step", ["-1000d", "+40d x1.5"])
def test_a_worker_s_wrong_clock_changes_nothing(cluster: Cluster, complete: Answer, step: str) -> None:
    """Its wall clock is years off, and is put right (or wrong) again in the midst; no deadline knows of it."""
    clock = Clock(cluster.lab.folder / "clock", "+3000d")

    def told() -> int:
        page = json.loads(fetch(str(cluster.lab.folder / "ventilator.sock"), "/status", timeout_s=30)[1])
        return sum(row["stats"]["tasks"] for row in page["workers"])

    ventilator = cluster.start_ventilator(silence_s=20)
    cluster.start_sink()
    worker = cluster.start_worker(cluster.add("a", "worker").name, env=clock.env)
    cluster.start_trainer()
    assert 20 == cluster.read(20)["batches"]
    clock.turn(step)
    assert complete == cluster.read(BATCHES - 20)
    until(lambda: told() >= 60, "a heartbeat with all tasks of two epochs")
    worker.send_term()
    assert 0 == worker.wait(60)
    said = [datetime.fromisoformat(line["timestamp"]) for line in events(worker)]
    assert max(said) - min(said) > timedelta(days=2900), "its clock was put right in the midst"
    assert [] == logged(ventilator, "worker silent")
    assert 1 == len(logged(ventilator, "worker joined"))
