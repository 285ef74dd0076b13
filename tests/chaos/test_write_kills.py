"""Whatever is killed while a file is written: what is there opens and reads, and the end is as if nothing had been."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from support.streams import make_images, make_spec, make_stream
from support.written import (
    Run,
    attributes,
    check_beginning,
    check_equal,
    contents,
    run_to_end,
    wait_for_samples,
    write_spec,
)

from penstock.protocol.wire import Array

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.long]

#: Small pieces: many commits, and each kill costs little.
PIECES = ("--piece-mb", "0.6", "--piece-s", "0.3")
EPOCHS = ("--epochs", "2")


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a spec of 3,600 samples an epoch; one of its 200 files is no image."""
    folder = tmp_path_factory.mktemp("kills")
    root = make_images(folder / "photos", each=100)
    (root / "dog" / "0042.jpg").write_bytes(b"no picture at all")
    return write_spec(folder / "spec.json", make_spec(root, train=make_stream(patches=18)))


@pytest.mark.parametrize(
    ("seed", "kills", "options"),
    [
        (1, 32, ()),
        (2, 12, ("--shard-size", "1000", "--compression", "gzip:1")),
    ],
    ids=["one file", "compressed shards"],
)
def test_random_kills_change_no_byte(
    seed: int, kills: int, options: tuple[str, ...], spec: Path, tmp_path: Path
) -> None:
    """Sink, worker, ventilator or all at once, again and again; then every data set equals an undisturbed run's."""
    calm = tmp_path / "calm.h5"
    run_to_end(spec, calm, *EPOCHS, *options)
    expected = contents(calm)
    assert 5000 <= len(expected["epoch"])
    rng = random.Random(seed)
    midway, victims, outputs = 0, list[str](), 0
    while len(victims) < kills:  # a run may be done before the last kill: then there is another
        outputs += 1
        output = tmp_path / f"killed-{outputs}.h5"
        hit = kill_now_and_then(spec, output, options, expected, rng, kills - len(victims))
        victims += hit
        midway += sum(victim.endswith("midway") for victim in hit)
        check_equal(expected, contents(output))
        names = ("classes", "complete", "epochs", "fingerprint", "seed", "spec", "start", "stop", "stream")
        for name in names:
            assert str(attributes(calm)[name]) == str(attributes(output)[name])
        assert not output.with_name(f"{output.name}.parts").exists()
    assert kills <= len(victims)
    assert kills * 2 // 3 <= midway, f"only {midway} of {victims} hit the writing"


def kill_now_and_then(
    spec: Path,
    output: Path,
    options: Sequence[str],
    expected: Mapping[str, Array],
    rng: random.Random,
    kills: int,
) -> list[str]:
    """Write a file, with up to so many kills on the way; return who was killed, and whether in the midst of writing."""
    victims: list[str] = []
    run = Run(spec, output, *EPOCHS, *options, *PIECES)
    try:
        for threshold in sorted(rng.randrange(len(expected["epoch"]) * 8 // 10) for _ in range(kills)):
            before = wait_for_samples(run, threshold)
            if before["state"] == "ended":
                break
            victim = rng.choice(["sink", "sink", "worker", "ventilator", "everything"])
            run.kill(victim)
            if output.exists():
                check_beginning(expected, output)
            midway = before["state"] == "writing" and output.exists() and not attributes(output)["complete"]
            victims.append(f"{victim}, midway" if midway else victim)
            if victim == "everything":
                run = Run(spec, output, *EPOCHS, *options, *PIECES)
        status, said = run.end()
        assert 0 == status, f"{said} after killing {victims}"
    finally:
        run.kill("everything")
    return victims
