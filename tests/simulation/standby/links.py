"""A simulated service's links to its ventilators: the shell around `following.py`, as `ventilator_links.py` is one."""

from typing import TYPE_CHECKING

from penstock.protocol.messages import AnyMessage, Hello, SinkHello
from penstock.protocol.runtime.following import Following

if TYPE_CHECKING:
    from simulation.processes import Process


class SimulatedLinks:
    """A link to each ventilator of the scenario."""

    def __init__(self, owner: "Process") -> None:
        """Connect."""
        self._owner, self._network = owner, owner.world.network
        self._names = owner.world.scenario.ventilators
        self._following = Following(len(self._names))
        #: The highest term of which anything was taken in.
        self._newest = 0
        self._connect()

    @property
    def identity(self) -> bytes:
        """The identity under which the followed ventilator, or the first one, knows this process."""
        return self._identities[self._following.followed or 0]

    def takes(self, link: str, message: AnyMessage) -> bool:
        """Return whether to take a message in; nothing is taken of one that another has succeeded."""
        took = self._following.takes(self._names.index(link), message)
        if took and (term := self._owner.world.terms.of(message)) is not None:
            assert term >= self._newest, f"{self._owner.name} takes in {message!r} of term {term}"
            self._newest = term
        return took

    def send(self, message: AnyMessage) -> None:
        """Send to the followed ventilator; a greeting to all if none is followed."""
        for link in self._following.targets(message):
            self._network.ask(self._owner, self._identities[link], self._names[link], message)

    def greet(self, hello: Hello | SinkHello, every_s: float) -> None:
        """Greet the other ventilators if it is time to."""
        for link in self._following.greet(self._owner.now, every_s):
            self._network.ask(self._owner, self._identities[link], self._names[link], hello)

    def reopen(self) -> None:
        """Connect again, under fresh identities."""
        for identity in self._identities:
            self._network.disconnect(identity)
        self._following.leave()
        self._connect()

    def _connect(self) -> None:
        self._identities = [self._network.connect(self._owner, name) for name in self._names]
