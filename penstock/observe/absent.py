"""Says at once that no stack runs at an address of this machine, where waiting for an answer would be of no use."""

from penstock.protocol.errors import StackError
from penstock.protocol.transport.own_sockets import OWN_TRAINERS, OWN_VENTILATOR, resolve, resolve_each, split
from penstock.protocol.transport.unix_sockets import is_deserted


def check_present(address: str, service: str) -> None:
    """Raise StackError if `address` is a Unix socket (ipc://, local:) where no process listens.

    Other addresses may be those of services that start later: they are asked until the deadline.
    """
    address = resolve_each(address)
    if not all(map(is_deserted, split(address))):
        return
    if address in (resolve(OWN_VENTILATOR), resolve(OWN_TRAINERS)):
        raise StackError(
            f"no stack of this user runs here (no {service} listens at {address}): start one by `penstock up SPEC`, or "
            "give its address, such as tcp://host:5555; the folder of a stack of penstock.local is its run_dir"
        )
    raise StackError(f"no {service} listens at {address}: check the address, and that the stack runs")
