"""What docker-compose.yml, its Dockerfile and docs/compose.md say of each other. Needs no engine."""

import re
from pathlib import Path

from penstock.worker.service import WorkerSettings


def test_the_docs_name_every_variable_of_the_compose_file(root: Path) -> None:
    """No variable is left for users to find in the file, and none is named that does nothing."""
    used = set(re.findall(r"\$\{([A-Z_]+)", (root / "docker-compose.yml").read_text(encoding="utf-8")))
    text = (root / "docs" / "compose.md").read_text(encoding="utf-8")
    table = text.partition("\n## Variables\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert used == {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)}


def test_the_dockerfile_needs_no_more_than_its_base_image(root: Path) -> None:
    """No frontend is pulled for it, and no other image."""
    text = (root / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert not re.search(r"^# *syntax", text, re.MULTILINE | re.IGNORECASE)
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
    bases = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) | set(re.findall(r"--from=(\S+)", text))
    assert {"${BASE}"} == bases - stages


def test_what_is_copied_into_images_passes_the_ignore_file(root: Path) -> None:
    """`.dockerignore` lets in what the Dockerfile copies, and nothing else."""
    copied: set[str] = set()
    for line in (root / "deploy" / "Dockerfile").read_text(encoding="utf-8").splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied |= set(line.split()[1:-1])
    lines = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert {"deploy/*.py" if name.startswith("deploy/") else name for name in copied} == let_in


def test_the_engine_waits_for_a_worker_s_drain(root: Path) -> None:
    """A drain of the default length, and what it takes to leave, fit before the engine kills it."""
    text = (root / "docker-compose.yml").read_text(encoding="utf-8")
    worker = text.partition("\n  worker:\n")[2].partition("\n\n")[0]
    [grace_s] = re.findall(r"^    stop_grace_period: (\d+)s\b", worker, re.MULTILINE)
    assert int(grace_s) >= WorkerSettings.model_fields["drain_s"].default + 5


def test_a_volume_of_several_containers_is_filled_by_one(root: Path) -> None:
    """The one-shot services get the image's empty folders in a new volume; the engine fills none for two at once."""
    text = (root / "docker-compose.yml").read_text(encoding="utf-8")
    shared = re.findall(r'"keys-\w+:/keys(?::([\w,]+))?"', text)
    assert 5 == len(shared), "ventilator, worker, sink, trainer and writer"
    assert {"ro,nocopy"} == set(shared)
    [images] = re.findall(r"^x-made: .*source: images.*$", text, re.MULTILINE)
    assert "nocopy: true" in images
