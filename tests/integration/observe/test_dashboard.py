"""The dashboard and the terminal commands before a real stack: what they show is what the ventilator knows."""

import json
import os
import signal
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from support.streams import make_images, make_spec, run_stack, take, until

from penstock import cli
from penstock.launcher.stack import LocalStack
from penstock.observe.status_client import Onlooker
from penstock.protocol.messages import Snapshot

pytestmark = pytest.mark.integration

#: A worker that gets no processor for a while is there nevertheless.
PATIENT = {"silence_s": 600.0}


def fetch(stack: LocalStack, path: str) -> Any:
    """Return JSON that the dashboard serves."""
    with urllib.request.urlopen(stack.dashboard + path, timeout=60) as answer:  # noqa: S310 - our own, on loopback
        return json.load(answer)


def test_a_stack_shows_its_samples_and_failures_to_pages_and_terminals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With keys: the ventilator may look at the sink's samples by its own; all views name the same failure."""
    photos = make_images(tmp_path / "photos", each=40)
    (photos / "cat" / "<i>.jpg").write_bytes(b"no image")
    keys = str(tmp_path / "keys")
    assert 0 == cli.main(["keys", "init", keys])
    with run_stack(make_spec(photos), workers=1, keys=keys, dashboard="127.0.0.1:0", ventilator=PATIENT) as stack:
        feed = stack.feed()
        assert 3 == len(take(feed, 3))
        shown = until(lambda: fetch(stack, "samples?stream=train")["pictures"], "samples on the page")
        assert {"cat", "dog"} >= {tile["lines"][0] for tile in shown}
        for tile in shown:  # the file that each sample was cut from, by its class
            assert (photos / tile["path"]).is_file()
            assert tile["path"].startswith(f"{tile['lines'][0]}/")
            assert tile["path"].endswith(f"/{tile['lines'][-1]}")
        assert all(tile["picture"].startswith("data:image/") for tile in shown)
        until(lambda: "no stream" in fetch(stack, "samples?stream=none")["why"], "the sink to say that there is none")

        for _ in feed:
            pass
        until(lambda: fetch(stack, "status")["ledger"], "the failure on the page")
        served = Snapshot.model_validate_json(json.dumps(fetch(stack, "status")))
        assert "cat/<i>.jpg" == served.ledger[0].path
        with Onlooker(stack.addresses.ventilator, keys) as onlooker:
            asked = onlooker.look()
        # Of the same file: in the meantime it may have failed once more, in the next epoch.
        assert {line.path for line in served.ledger} == {line.path for line in asked.ledger}
        assert served.streams[0].fingerprint == asked.streams[0].fingerprint
        capsys.readouterr()
        for source in (stack.addresses.ventilator, stack.dashboard, str(stack.quarantine)):
            assert 0 == cli.main(["quarantine", source, "--keys", keys])
            assert "cat/<i>.jpg" in capsys.readouterr().out, source
        assert 0 == cli.main(["status", stack.addresses.ventilator, "--keys", keys])
        told = " ".join(capsys.readouterr().out.split())
        assert "1 worker" in told
        assert asked.sink
        assert "1 item quarantined" in told
        assert 0 == cli.main(["status", stack.dashboard, "--json"])
        assert asked.version == Snapshot.model_validate_json(capsys.readouterr().out).version
        asks = ["status", stack.addresses.ventilator, "--wait-s", "5"]
        until(lambda: 2 == cli.main(asks) and "give --keys" in capsys.readouterr().err, "a refusal within that time")


def test_a_ventilator_that_stands_still_for_seconds_is_waited_for(tmp_path: Path) -> None:
    """It is not taken for lost so soon: a client that asks hears it once the machine has time for it again."""
    with run_stack(make_spec(make_images(tmp_path / "photos", each=4)), workers=0) as stack:
        ventilator = stack.children["ventilator"].process.pid
        os.kill(ventilator, signal.SIGSTOP)
        again = threading.Timer(3.0, os.kill, (ventilator, signal.SIGCONT))
        again.start()
        assert "train" == stack.snapshot().streams[0].name
        again.join()
