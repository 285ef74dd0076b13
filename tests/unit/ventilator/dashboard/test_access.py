"""Who may see the dashboard: tokens, names of hosts, files of tokens. No socket."""

import stat
from pathlib import Path

import pytest

from penstock.protocol.errors import SpecError
from penstock.ventilator.dashboard.access import Access, new_token, page_url, read_token

TOKEN = "a-token-of-enough-letters"  # noqa: S105 - for this test only


def judge(access: Access, host: str = "127.0.0.1:5550", asked: str = "", **headers: str) -> str:
    """Return what becomes of a request."""
    return access.judge({"host": host, **headers}, asked)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:5550", "127.0.0.1", "10.0.0.7:80", "[::1]:5550", "BOX:5550", "box."]
)
def test_addresses_and_names_of_this_host_are_its_own(host: str) -> None:
    """With or without a port, in either case: another port may be forwarded here."""
    assert "welcome" == judge(Access("", ["box"], 5550), host)


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:5550", "localhost.evil.example", "127.0.0.1.nip.io", "box:x"]
)
def test_a_name_that_is_not_ours_is_refused(host: str) -> None:
    """It was made to point here by another site: DNS rebinding."""
    assert "wrong host" == judge(Access("", ["box"], 5550), host)
    assert "wrong host" == judge(Access(TOKEN, ["box"], 5550), host, TOKEN), "whatever else it brings"


def test_without_its_token_nobody_gets_in() -> None:
    """By query, cookie or header, and nearly right ones are wrong."""
    access = Access(TOKEN, [], 5550)
    assert "no token" == judge(access)
    for wrong in (TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "ü", " "):
        assert "no token" == judge(access, asked=wrong)
        assert "no token" == judge(access, cookie=f"penstock-5550={wrong}")
        assert "no token" == judge(access, authorization=f"Bearer {wrong}")
    assert "no token" == judge(access, cookie=f"penstock-5551={TOKEN}"), "another dashboard's"
    assert "no token" == judge(access, cookie="=;;=\x00"), "no cookie at all"


def test_the_token_is_taken_from_query_cookie_and_header() -> None:
    """The query's is remembered by a cookie that no script can read, the others just let in."""
    access = Access(TOKEN, [], 5550)
    assert "remember" == judge(access, asked=TOKEN)
    cookie = access.cookie()
    assert "HttpOnly; SameSite=Lax" in cookie
    assert "welcome" == judge(access, cookie=f"other=1; {cookie.partition(';')[0]}")
    assert "welcome" == judge(access, authorization=f"bearer {TOKEN}")


def test_a_token_file_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    """A ventilator that starts again asks for the same one."""
    path = tmp_path / "token"
    token = read_token(path)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert token == read_token(path)
    assert new_token() != new_token()


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (TOKEN, 0o644, "others on this machine can read it; chmod 600"),
        ("", 0o600, "at least 16 letters"),
        ("short", 0o600, "at least 16 letters"),
        ("two words of a token", 0o600, "at least 16 letters"),
        ("a-token;with-a-semicolon", 0o600, "at least 16 letters"),
        ("tökens-are-ascii-only", 0o600, "give a file of yours"),
    ],
)
def test_a_token_file_that_is_none_is_refused(tmp_path: Path, content: str, mode: int, words: str) -> None:
    """In words that name the file."""
    path = tmp_path / "token"
    path.write_text(content, encoding="utf-8")
    path.chmod(mode)
    with pytest.raises(SpecError, match=words) as caught:
        read_token(path)
    assert str(path) in str(caught.value)


def test_a_token_file_in_no_folder_is_refused(tmp_path: Path) -> None:
    """As any other file that cannot be made."""
    with pytest.raises(SpecError, match="No such file"):
        read_token(tmp_path / "none" / "token")


def test_a_page_s_address_can_be_opened() -> None:
    """A wildcard is no address for browsers."""
    assert "http://127.0.0.1:81/" == page_url("127.0.0.1:80", 81, "")
    assert "http://[::1]:81/?token=t" == page_url("[::1]:0", 81, "t")
    assert "0.0.0.0" not in page_url("0.0.0.0:80", 80, "")  # noqa: S104 - nothing is bound
    assert "http://box.example:80/" == page_url("0.0.0.0:80", 80, "", ["box.example"])
    assert "http://127.0.0.1:80/" == page_url("127.0.0.1:80", 80, "", ["box.example"]), "it listens nowhere else"
