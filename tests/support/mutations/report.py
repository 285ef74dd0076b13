"""What an attack on one socket did: what was sent, rejected and answered, and what it cost."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Report:
    """What one socket did with what it was sent."""

    target: str
    sent: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    #: Most processor time (s) that the service used for a block of messages: no message took longer.
    block_cpu_s: float = 0.0
    #: Longest (s) that the service let others wait for an answer, or was silent.
    silent_s: float = 0.0

    def waited(self, seconds: float) -> None:
        """Note how long the service let another wait."""
        self.silent_s = max(self.silent_s, seconds)

    def __str__(self) -> str:
        """Return a line of a table."""
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.rejected.most_common())
        accepted = self.sent - sum(self.rejected.values())
        return (
            f"| {self.target} | {self.sent} | {accepted} | {reasons} | {self.block_cpu_s:.2f} | {self.silent_s:.2f} |"
        )


HEADING = (
    "| socket | sent | accepted or ignored | rejected | most CPU for 100 (s) | longest silence (s) |\n"
    "|---|---|---|---|---|---|"
)
