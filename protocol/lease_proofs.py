"""Makes and checks the proofs that units of work were leased: keyed digests over the unit, the worker and its number.

The ventilator puts a proof into each lease, and the sink checks it in each result. So a worker can send results only of
tasks that were leased to it, and its results can be told from those of other workers. No clock and no randomness: the
key comes from the ventilator's shell.
"""

from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest

from penstock.protocol.records import Lease, LeaseKey, TaskKey

#: Bytes of a proof, and of the digest of a task's names.
_DIGEST_BYTES = 16


class LeaseProver:
    """Makes and checks proofs with one ventilator's key."""

    def __init__(self, key: LeaseKey) -> None:
        """Use this key."""
        self.issuer = key.issuer
        self._keyed = blake2b(key=bytes.fromhex(key.secret), digest_size=_DIGEST_BYTES)

    def lease(
        self, key: TaskKey, worker: str, holder: int, names: Sequence[str] = (), *, vouched: bool = False
    ) -> Lease:
        """Return the lease of a unit of work to the worker of this name and number."""
        digest = digest_of(names)
        proof = self._prove(key, worker, holder, digest, vouched=vouched)
        return Lease(issuer=self.issuer, holder=holder, vouched=vouched, names=digest, proof=proof)

    def proves(self, lease: Lease, key: TaskKey, worker: str) -> bool:
        """Return whether a unit of work was leased so to the worker of this name."""
        proof = self._prove(key, worker, lease.holder, lease.names, vouched=lease.vouched)
        return compare_digest(proof.encode(), lease.proof.encode())

    def _prove(self, key: TaskKey, worker: str, holder: int, names: str, *, vouched: bool) -> str:
        keyed = self._keyed.copy()
        # Of the texts in it, only the last one, the worker's own name, may hold anything.
        content = (
            f"{key.stream}\0{key.ordinal}\0{key.offsets or key.item_offset}\0{holder}\0{vouched}\0{names}\0{worker}"
        )
        keyed.update(content.encode(errors="surrogatepass"))
        return keyed.hexdigest()


def digest_of(names: Sequence[str]) -> str:
    """Return the digest of a task's names; empty if there are none."""
    if not names:
        return ""
    return blake2b("\0".join(names).encode(errors="surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
