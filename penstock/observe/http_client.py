"""Fetches a stack's snapshot over HTTP: from a ventilator's health address, or from its dashboard.

`WebOnlooker` is the counterpart of `status_client.Onlooker` for `http://` addresses.
"""

import http.client
from contextlib import suppress
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, urlsplit

from pydantic import ValidationError

from penstock.protocol.errors import DeadlineError, PenstockError, RefusedError, RemoteProtocolError, SpecError
from penstock.protocol.snapshot import Snapshot

#: Largest answer that is read (bytes): far more than a thousand workers need.
_MOST_BYTES = 32_000_000


class WebOnlooker:
    """A snapshot's address; a context manager like `Onlooker`."""

    def __init__(self, address: str, timeout_s: float = 10.0) -> None:
        """Take http://host:port, with or without /status, with or without ?token=…. Raises SpecError."""
        self.address, self.timeout_s = address, timeout_s
        self._url = _parse(address)

    def __enter__(self) -> Self:
        """Return itself: every question takes a connection of its own."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""

    def look(self, ledger: int = 20) -> Snapshot:
        """Return the stack's snapshot, with at most `ledger` of the quarantined items that are served there.

        Raises DeadlineError, RefusedError without the right token, RemoteProtocolError if that is no ventilator.
        """
        url = self._url
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=self.timeout_s)
        path = "/status" if url.path in ("", "/") else url.path
        try:
            connection.request("GET", f"{path}?{url.query}" if url.query else path)
            answer = connection.getresponse()
            body = answer.read(_MOST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise DeadlineError(
                f"no answer from {url.scheme}://{url.netloc} ({error}): check that the ventilator runs, and that this "
                "is the address of its dashboard or of its --health"
            ) from error
        finally:
            connection.close()
        if answer.status != HTTPStatus.OK:
            raise self._refusal(answer.status, body)
        try:
            snapshot = Snapshot.model_validate_json(body)
        except ValidationError as error:
            told = body[:60].decode(errors="replace")
            raise RemoteProtocolError(
                "snapshot", f"{url.netloc}{path} serves no snapshot of this release: {told!r}"
            ) from error
        return snapshot.model_copy(update={"ledger": snapshot.ledger[:ledger]})

    def _refusal(self, status: int, body: bytes) -> PenstockError:
        told = body.decode(errors="replace").strip()[:300]
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return RefusedError(f"{self._url.netloc} says: {told}")
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            return DeadlineError(f"{self._url.netloc} is not ready yet: {told}")
        return RemoteProtocolError(
            "snapshot", f"{self._url.netloc} answers {status}: is that a ventilator? Its dashboard serves /status"
        )


def _parse(address: str) -> SplitResult:
    with suppress(ValueError):
        url = urlsplit(address)
        if url.scheme == "http" and url.hostname and (url.port is None or url.port > 0):
            return url
    raise SpecError(f"address {address!r}: give http://host:port, as the dashboard's, or tcp:// or ipc:///path")
