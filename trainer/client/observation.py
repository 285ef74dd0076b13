"""The state of the trainer's core as a frozen record, for the threads of the training program."""

from dataclasses import dataclass

from penstock.protocol.plan import StreamPlan


@dataclass(frozen=True, slots=True)
class SessionObservation:
    """The trainer's core at one moment."""

    #: When it was observed (monotonic s).
    now: float
    #: The stream's plan; None until the sink has answered.
    plan: StreamPlan | None
    #: Whether the sink refused the subscription.
    rejected: bool
    #: Position after the last batch that was delivered.
    position: int
    #: Batches delivered and consumed over all subscriptions.
    delivered: int
    consumed: int
    #: Batches that may wait at the trainer or be on their way.
    ahead: int
    #: Batches after whose consumption the sink should hear.
    grant_after: int
