"""Whatever is killed while a file is written: what is there opens and reads, and the end is as if nothing had been."""

import random
from pathlib import Path

import pytest
from streams import make_images, make_spec, make_stream
from written import (
    Run,
    attributes,
    check_beginning,
    check_equal,
    contents,
    run_to_end,
    wait_for_samples,
    write_spec,
)

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.long]

#: Small pieces: many commits, and each kill costs little.
PIECES = ("--piece-mb", "0.6", "--piece-s", "0.3")


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
    epochs = ("--epochs", "2")
    calm = tmp_path / "calm.h5"
    run_to_end(spec, calm, *epochs, *options)
    expected = contents(calm)
    total = len(expected["epoch"])
    assert 5000 <= total
    rng = random.Random(seed)
    output = tmp_path / "killed.h5"
    run = Run(spec, output, *epochs, *options, *PIECES)
    midway = 0
    victims: list[str] = []
    try:
        for threshold in sorted(rng.randrange(total * 9 // 10) for _ in range(kills)):
            before = wait_for_samples(run, threshold)
            victims.append(rng.choice(["sink", "sink", "worker", "ventilator", "everything"]))
            run.kill(victims[-1])
            if output.exists():
                check_beginning(expected, output)
                midway += before["state"] == "writing" and not attributes(output)["complete"]
            if victims[-1] == "everything":
                run = Run(spec, output, *epochs, *options, *PIECES)
        status, said = run.end()
    finally:
        run.kill("everything")
    assert 0 == status, f"{said} after killing {victims}"
    assert kills == len(victims)
    assert kills * 2 // 3 <= midway, f"only {midway} kills hit the writing"
    check_equal(expected, contents(output))
    names = ("classes", "complete", "epochs", "fingerprint", "seed", "spec", "start", "stop", "stream")
    for name in names:
        assert str(attributes(calm)[name]) == str(attributes(output)[name])
    assert not output.with_name("killed.h5.parts").exists()
    assert 20 <= midway or kills < 30
