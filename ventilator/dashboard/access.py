"""Access to the dashboard: tokens, host names, and headers that keep other web pages out.

There are three checks. Beyond loopback nothing is shown without the token. A request must name this host in its `Host`
header: another site could let its own name point here (DNS rebinding), and its pages could then read this one. And
no answer may be framed, read by other origins, or run or load anything from elsewhere.
"""

import hmac
import ipaddress
import os
import secrets
import socket
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Literal

from penstock.protocol.errors import SpecError

#: Bytes of a token that is made here, and the least letters of one that is given.
_TOKEN_BYTES, _LEAST_LETTERS = 24, 16
#: Seconds that a browser remembers the token.
_REMEMBERED_S = 30 * 86_400

Verdict = Literal["welcome", "remember", "wrong host", "no token"]

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Access:
    """Decides about one request by its headers and its query."""

    def __init__(self, token: str, names: Iterable[str], port: int) -> None:
        """Ask for `token` unless it is empty; `names` are this host's names."""
        self._token = token.encode()
        self._names = {name.lower().rstrip(".") for name in names} | {"localhost"}
        #: Cookies know no ports: two dashboards on one host need two names.
        self._cookie = f"penstock-{port}"

    def judge(self, headers: Mapping[str, str], asked: str) -> Verdict:
        """Decide about a request with these headers and this token in its query."""
        if not self._is_ours(headers.get("host", "")):
            return "wrong host"
        if not self._token:
            return "welcome"
        if asked:
            return "remember" if self._fits(asked) else "no token"
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer if scheme.lower() == "bearer" else self._remembered(headers.get("cookie", ""))
        return "welcome" if self._fits(given) else "no token"

    def cookie(self) -> str:
        """Return the header that lets a browser remember the token, where no script can read it."""
        token = self._token.decode()
        return f"{self._cookie}={token}; Path=/; Max-Age={_REMEMBERED_S}; HttpOnly; SameSite=Lax"

    def _fits(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token)

    def _remembered(self, header: str) -> str:
        with suppress(CookieError):
            if found := SimpleCookie(header).get(self._cookie):
                return str(found.value)
        return ""

    def _is_ours(self, header: str) -> bool:
        """Return whether a `Host` header names this host. An address is fine: only a name can be made to point here."""
        name = header.rpartition(":")[0] if header.rpartition(":")[2].isdecimal() else header
        with suppress(ValueError):
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
            return True
        return name.lower().rstrip(".") in self._names


def page_url(address: str, port: int, token: str, hosts: Sequence[str] = ()) -> str:
    """Return the dashboard's address for browsers: in place of a wildcard, the first of `hosts` or this host's name."""
    host = address.rpartition(":")[0]
    if host in ("", "*", "0.0.0.0", "[::]"):  # noqa: S104 - compared, not bound
        host = hosts[0] if hosts else socket.gethostname()
    return f"http://{host}:{port}/" + (f"?token={token}" if token else "")


def new_token() -> str:
    """Return a random token that cannot be guessed."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def read_token(path: Path) -> str:
    """Return the token in a file, which gets a new one if it is not there yet. Raises SpecError."""
    try:
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(new_token() + "\n")
        mode = path.stat().st_mode
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"dashboard token {str(path)!r}: {error}; give a file of yours that holds one line") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SpecError(f"dashboard token {str(path)!r}: others on this machine can read it; chmod 600 {path}")
    if len(token) < _LEAST_LETTERS or not token.isprintable() or set(token) & set(' ";,\\'):
        raise SpecError(
            f"dashboard token {str(path)!r}: it must be one line of at least {_LEAST_LETTERS} letters, digits, dashes "
            "or underscores; remove the file, and one is made"
        )
    return token
