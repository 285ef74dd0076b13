"""The settings of `penstock sink`."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from penstock.protocol.runtime.settings import NodeSettings
from penstock.protocol.transport.own_sockets import OWN_RESULTS, OWN_TRAINERS, OWN_VENTILATOR, Address, Addresses
from penstock.sink.output.options import WriterOptions

#: What messages carry: the letters of host names, and of a host with a port.
_NAME = re.compile(r"[A-Za-z0-9._:-]{0,255}")


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name[:300]!r} is no name: give up to 255 letters, digits and . _ : -, such as the node's name"
        )
    return name


class SinkSettings(NodeSettings, WriterOptions):
    """Restores order, forwards batches to trainers and, with a writer, records a stream to a file."""

    ventilator: Addresses = OWN_VENTILATOR
    """Address of the ventilator; with a standby, those of both, as in tcp://one:5555,tcp://other:5555."""
    name: Annotated[str, AfterValidator(_check_name)] = ""
    """Name, such as the node's, if several sinks share the streams: each serves the ranks that connect to it. A sink
    replaces an earlier one of the same name; without a name, it is the only one."""
    results: Address = OWN_RESULTS
    """Address to bind for workers' results."""
    bind: Address = OWN_TRAINERS
    """Address to bind for trainers."""
    advertise: str = ""
    """Address of `results` as workers reach it (tcp://sink:5556 in containers); default: `results`, where a wildcard
    becomes this host's address towards the ventilator, or the ventilator's own host if that is this one."""
    quarantine: str = ""
    """File of the quarantine ledger (JSON lines); empty: quarantined items appear only in the log."""
    heartbeat_s: float = Field(default=1.0, gt=0, le=3600)
    """Seconds between heartbeats until the ventilator sends its own setting."""
    silence_s: float = Field(default=5.0, gt=0, le=86400)
    """Seconds of silence after which a peer counts as lost, until the ventilator sends its own setting."""
    writer: Literal["none", "hdf5"] = "none"
    """Format in which the sink also records a stream to `output`; it goes on serving trainers afterwards."""
    wait_for_trainers: int = Field(default=0, ge=0, le=1000)
    """Number of trainers of the stream for which the recording waits, so that they and the writer use the same
    results."""
    full_disk_wait_s: float = Field(default=3600.0, ge=0, le=1e7)
    """Seconds to wait for space when the disk is full; trainers of the stream wait as well. After that, the sink ends
    with an error."""
    shared_memory: bool = True
    """Share memory with workers and trainers on this host if possible; off: all data goes through sockets."""
