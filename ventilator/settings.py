"""The settings of `penstock ventilator`."""

from pydantic import Field

from penstock.protocol.runtime.settings import ServiceSettings
from penstock.protocol.transport.own_sockets import OWN_VENTILATOR, Address


class VentilatorSettings(ServiceSettings):
    """Hands out tasks: reads the spec, lists the sources, leases work to workers."""

    spec: str
    """Path of the spec (TOML)."""
    bind: Address = OWN_VENTILATOR
    """Address for workers and the sink: tcp://host:port, ipc:///path, or local:NAME for a Unix socket in a folder that
    only this user may enter."""
    root: dict[str, str] = Field(default_factory=dict)
    """NAME=PATH: the path of one of the spec's roots on this host; overrides the spec's [roots]."""
    heartbeat_s: float = Field(default=1.0, gt=0, le=3600)
    """Seconds between heartbeats of all services."""
    silence_s: float = Field(default=5.0, gt=0, le=86400)
    """Seconds of silence after which a peer counts as lost."""
    task_timeout_s: float = Field(default=120.0, gt=0, le=86400)
    """Maximum seconds for one task; a worker that exceeds them ends its process."""
    standby: str = ""
    """Folder that all ventilators of the stack share: one of them acts, and another takes over when it ends; empty:
    there is only this one."""
    takeover_s: float = Field(default=4.0, ge=1, le=3600)
    """With `standby`: seconds without a sign of life of the ventilator that acts before another one takes over."""
    attempts: int = Field(default=3, ge=2, le=100)
    """Number of workers that may die while processing an item before the item is quarantined."""
    confirm_s: float = Field(default=10.0, gt=0)
    """Seconds after which a result without the sink's confirmation is computed again."""
    hedge_s: float = Field(default=2.0, gt=0)
    """Minimum seconds for which a task blocks the stream before a second worker gets it too."""
    hedge_factor: float = Field(default=4.0, ge=1)
    """A task is given to a second worker only if it has run this many times longer than a typical task."""
    workers_least: int = Field(default=1, ge=0)
    """Fewest workers that the status asks for; 0: none while no trainer reads."""
    workers_most: int = Field(default=0, ge=0)
    """Most workers that the status asks for; 0: no bound."""
    workers_up_s: float = Field(default=10.0, gt=0)
    """Seconds for which more workers must be needed before the status asks for them."""
    workers_down_s: float = Field(default=60.0, gt=0)
    """Seconds for which fewer workers must be enough before the status asks for fewer."""
    dashboard: str = ""
    """Address of the dashboard, such as 127.0.0.1:5550; port 0: any free port; empty: no dashboard."""
    dashboard_token_file: str = ""
    """File with the token that the dashboard asks for; it is created if it is missing. Without this setting, a
    dashboard that other hosts can reach creates a token for each run."""
    dashboard_hosts: list[str] = Field(default_factory=list)
    """Further names by which browsers may call the dashboard's host, such as that of a proxy. The logged address has
    the first of them if the dashboard listens on all interfaces."""
