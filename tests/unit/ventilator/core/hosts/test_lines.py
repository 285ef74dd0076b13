"""Workers with a free slot stand in a line of their host."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.ventilator.core.hosts.lines import HostLines


@given(st.lists(st.tuples(st.sampled_from(["enter", "leave", "turn"]), st.sampled_from("abc"), st.sampled_from("xy"))))
def test_lines_keep_the_order_of_each_host_and_nothing_of_those_who_left(steps: list[tuple[str, str, str]]) -> None:
    """Entering again keeps one's place, turning goes to the end, and a host without free workers leaves nothing."""
    lines, wanted = HostLines(), dict[str, list[bytes]]({"x": [], "y": []})
    for step, name, host in steps:
        peer, line = f"{name} on {host}".encode(), wanted[host]
        if step == "enter":
            lines.enter(host, peer)
            line += [peer] if peer not in line else []
        elif step == "leave":
            lines.leave(host, peer)
            line[:] = [each for each in line if each != peer]
        elif peer in line:
            lines.turn(host, peer)
            line.remove(peer)
            line.append(peer)
        assert wanted == {host: list(lines.at(host)) for host in wanted}
        assert sorted(lines) == sorted(wanted["x"] + wanted["y"])
    assert [] == list(lines.at("elsewhere"))
