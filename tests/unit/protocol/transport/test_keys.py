"""Key folders, roles, addresses, and what our code never does."""

import ast
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from penstock.commands.keys import main
from penstock.protocol.errors import SpecError
from penstock.protocol.transport.addresses import check_exposure, is_local
from penstock.protocol.transport.keys import KeyRing, Role, is_key, open_keys
from penstock.protocol.transport.sockets import Hub, new_key_pair


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a fresh key folder."""
    path = tmp_path / "keys"
    assert 0 == main(["init", str(path)])
    return path


def test_init_makes_one_key_a_role_that_only_its_owner_can_read(folder: Path) -> None:
    """Folders 0700, files 0600; the secret halves differ, and none is shown by repr."""
    assert {0o700} == {path.stat().st_mode & 0o777 for path in (folder, folder / "public", folder / "secret")}
    assert {0o600} == {path.stat().st_mode & 0o777 for path in folder.glob("*/*")}
    roles: tuple[Role, ...] = ("ventilator", "sink", "worker", "trainer")
    rings = {role: KeyRing(folder, role) for role in roles}
    assert 4 == len({ring.own.secret for ring in rings.values()})
    for role, ring in rings.items():
        assert (role, role) == (ring.own.name, ring.own.role)
        assert ring.own.secret not in repr(ring) + repr(ring.own)
        known = ring.identify(ring.own.public)
        assert known is not None
        assert (role, "") == (known.role, known.secret), "the allow-list has no secrets"
        assert rings["sink"].own.public == ring.server("sink")
    assert rings["worker"].identify(new_key_pair()[0]) is None
    assert rings["worker"].identify("") is None


def test_a_folder_is_never_made_over_another(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second init would lock all peers out."""
    before = {path: path.read_bytes() for path in folder.glob("*/*")}
    assert 2 == main(["init", str(folder)])
    assert "is there already" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in folder.glob("*/*")}


def test_a_key_that_cannot_be_written_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The system's reason and the folder are in it: a full disk, or what is no file in the file's place."""
    (folder / "secret" / ".worker-7.new").mkdir()
    assert 2 == main(["add", "worker-7", "--keys", str(folder)])
    [line] = capsys.readouterr().err.splitlines()
    assert f"cannot write the key worker-7 into {folder / 'secret'}: Is a directory; make room there" in line


def test_add_export_list_and_revoke(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What another host gets is one secret and three public keys; a revoked key is unknown to all."""
    keys = ["--keys", str(folder)]
    assert 0 == main(["add", "worker-7", *keys])
    assert 0 == main(["add", "trainer-b", *keys])
    assert 0 == main(["add", "gpu-box", "--role", "trainer", *keys])
    assert 0 == main(["export", "worker-7", str(tmp_path / "other"), *keys])
    other = KeyRing(tmp_path / "other", "worker")
    assert "worker-7" == other.own.name
    assert {"public/ventilator.toml", "public/sink.toml", "public/worker-7.toml", "secret/worker-7.toml"} == {
        path.relative_to(tmp_path / "other").as_posix() for path in (tmp_path / "other").glob("*/*")
    }
    capsys.readouterr()
    assert 0 == main(["list", *keys])
    said = capsys.readouterr().out
    assert {"worker-7": "worker", "trainer-b": "trainer", "gpu-box": "trainer"}.items() <= {
        line.split()[0]: line.split()[1] for line in said.splitlines()
    }.items()
    assert KeyRing(folder, "sink").own.secret not in said
    assert KeyRing(folder, "sink").identify(other.own.public)
    assert 0 == main(["revoke", "worker-7", *keys])
    assert KeyRing(folder, "sink").identify(other.own.public) is None
    assert 2 == main(["revoke", "worker-7", *keys])
    assert "no key 'worker-7'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["add", "../evil"], "key name '../evil'"),
        (["add", ".hidden"], "key name '.hidden'"),
        (["add", "a" * 65], "key name"),
        (["add", "worker"], "there is a key 'worker' already"),
        (["add", "sink-2"], "there is a sink's key already"),
        (["add", "x", "--role", "king"], "'ventilator', 'sink', 'worker' or 'trainer'"),
        (["revoke", "../../etc/passwd"], "key name"),
        (["export", "nobody", "out"], "nobody.toml"),
    ],
)
def test_what_a_key_cannot_be_is_refused_in_words(
    folder: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names are files' names; a stack has one ventilator and one sink."""
    assert 2 == main([*arguments, "--keys", str(folder)])
    assert words in capsys.readouterr().err


def damage(file: str, text: str) -> Callable[[Path], object]:
    """Return what writes `text` into a file of a key folder."""
    return lambda folder: (folder / file).write_text(text)


def link(folder: Path) -> None:
    """Put a link in the place of a secret key."""
    (folder / "secret/worker.toml").rename(folder / "elsewhere")
    (folder / "secret/worker.toml").symlink_to(folder / "elsewhere")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: folder.chmod(0o750), "has mode 0750"),
        (lambda folder: (folder / "public").chmod(0o777), "has mode 0777"),
        (lambda folder: (folder / "secret/worker.toml").chmod(0o640), "has mode 0640"),
        (lambda folder: (folder / "public/trainer.toml").chmod(0o606), "chmod 600"),
        (lambda folder: (folder / "secret/worker.toml").unlink(), "need one secret key of role 'worker'"),
        (lambda folder: (folder / "public/sink.toml").unlink(), "need one public key of role 'sink'"),
        (link, "no link"),
        (lambda folder: os.mkfifo(folder / "public/pipe.toml", 0o600), "not the file of a key"),
        (damage("public/worker.toml", "role = "), "not valid TOML"),
        (damage("public/worker.toml", "x" * 5000), "not the file of a key"),
        (damage("public/worker.toml", f'role = "king"\npublic = "{"a" * 40}"'), "not a key"),
        (damage("public/worker.toml", 'role = "worker"\npublic = "short"'), "not a key"),
        (damage("public/worker.toml", f'role = "worker"\npublic = "{"#" * 40}"'), "not a key"),
        (damage("secret/worker.toml", f'role = "worker"\npublic = "{"a" * 40}"\nsecret = 5'), "not a key"),
    ],
)
def test_a_key_that_others_could_use_or_that_is_none_is_refused(
    folder: Path, spoil: Callable[[Path], object], words: str
) -> None:
    """Wrong modes, links, pipes, broken files, missing ones: each in words that name the file."""
    spoil(folder)
    with pytest.raises(SpecError) as caught:
        KeyRing(folder, "worker")
    assert words in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_key_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner of the file can replace it."""
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(SpecError, match="belongs to user"):
        KeyRing(folder, "worker")


def test_one_key_under_two_names_is_refused(folder: Path) -> None:
    """Else the order of the files would decide what its owner may do."""
    text = (folder / "public/worker.toml").read_text()
    (folder / "public/zz.toml").write_text(text.replace('"worker"', '"trainer"'))
    (folder / "public/zz.toml").chmod(0o600)
    with pytest.raises(SpecError, match="the same key as 'worker'"):
        KeyRing(folder, "sink")


def test_a_running_service_follows_its_folder_and_admits_nobody_without_it(folder: Path) -> None:
    """Added and revoked keys count at the next look; a wrong file costs only its own key; a wrong folder all."""
    ring = KeyRing(folder, "sink")
    trainer = KeyRing(folder, "trainer").own.public
    assert [] == ring.refresh(1.0)
    main(["add", "worker-7", "--keys", str(folder)])
    [added] = {path.stem for path in (folder / "public").iterdir()} - {"sink", "ventilator", "worker", "trainer"}
    assert "worker-7" == added
    public = next(line for line in (folder / "public/worker-7.toml").read_text().splitlines() if "public" in line)
    public = public.split('"')[1]
    assert ring.identify(public) is None, "not looked at yet"
    assert [] == ring.refresh(1.1), "too soon to look again"
    assert [] == ring.refresh(2.0)
    assert ring.identify(public)
    (folder / "public/worker-7.toml").chmod(0o644)
    [problem] = ring.refresh(3.0)
    assert "has mode 0644" in problem
    assert ring.identify(public) is None
    assert ring.identify(trainer)
    folder.chmod(0o755)
    [problem] = ring.refresh(4.0)
    assert "no peer is admitted" in problem
    assert ring.identify(trainer) is None
    folder.chmod(0o700)
    ring.refresh(5.0)
    assert ring.identify(trainer)


def test_no_folder_is_no_keys() -> None:
    """The default: sockets on loopback or ipc need none."""
    assert open_keys("", "sink") is None
    assert not is_key("")


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("ipc:///run/x.sock", True),
        ("tcp://127.0.0.1:5555", True),
        ("tcp://127.8.9.1:0", True),
        ("tcp://[::1]:5555", True),
        ("tcp://[::ffff:127.0.0.1]:5555", True),
        ("tcp://localhost:5555", True),
        ("tcp://*:5555", False),
        ("tcp://0.0.0.0:5555", False),
        ("tcp://[::]:5555", False),
        ("tcp://[::ffff:0.0.0.0]:5555", False),
        ("tcp://10.0.0.7:5555", False),
        ("tcp://eth0:5555", False),
        ("tcp://127.0.0.1.example.org:5555", False),
        ("tcp://localhost.evil:5555", False),
    ],
)
def test_only_loopback_and_unix_sockets_count_as_local(address: str, local: bool) -> None:  # noqa: FBT001 - a table
    """Whatever else is bound needs keys or --insecure; names are not looked up."""
    assert local == is_local(address)
    check_exposure(address, insecure=True)
    if not local:
        with pytest.raises(SpecError, match=r"penstock keys init(.|\n)*--insecure"):
            check_exposure(address, insecure=False)


def test_a_socket_without_keys_is_not_bound_for_others() -> None:
    """The socket itself refuses, whatever module makes it."""
    hub = Hub(structlog.get_logger())
    try:
        with pytest.raises(SpecError, match="refusing to listen"):
            hub.pull("tcp://0.0.0.0:0", {"worker": frozenset()})
    finally:
        hub.close()


#: What could run what a peer or a file says.
_MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
_CALLS = {"eval", "exec", "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}


def dangers(tree: ast.AST) -> Iterator[str]:
    """Yield what a program must not have."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if found := {name.name.partition(".")[0] for name in names} & _MODULES:
                yield f"line {node.lineno}: imports {found}"
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in _MODULES:
                yield f"line {node.lineno}: imports {module}"
            case ast.Call(func=function, args=given) if ast.unparse(function) in _CALLS:
                if [ast.Constant] == [type(argument) for argument in given]:
                    continue  # says itself what it runs: `exec("")`
                yield f"line {node.lineno}: calls {ast.unparse(function)}"
            case ast.keyword(arg="shell" | "allow_pickle", value=value) if ast.unparse(value) != "False":
                yield f"line {node.value.lineno}: {node.arg}={ast.unparse(value)}"
            case _:
                pass


def test_nothing_of_ours_runs_what_it_reads(root: Path) -> None:
    """No pickle, no eval, no shell, anywhere in the parts, examples, benchmarks, containers, docs and CI."""
    folders = ["penstock", "protocol", "ventilator", "worker", "sink", "trainer"]
    folders += ["examples", "benchmarks", "deploy", "docs", ".ci"]
    files = [path for folder in folders for path in (root / folder).rglob("*.py") if "ns" not in path.parts]
    assert len(files) > 100
    found = [f"{path.relative_to(root)}: {danger}" for path in files for danger in dangers(ast.parse(path.read_text()))]
    assert [] == found


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "eval(text)",
        "exec(text)",
        "os.system(text)",
        "run(text, shell=True)",
        "np.load(path, allow_pickle=flag)",
    ],
)
def test_the_search_finds_what_it_looks_for(code: str) -> None:
    """Else it would prove nothing."""
    assert 1 == len(list(dangers(ast.parse(code))))
