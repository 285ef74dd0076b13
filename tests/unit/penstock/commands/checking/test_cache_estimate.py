"""What `penstock check` says of a cache, compared with what a worker then keeps."""

from pathlib import Path

import pytest
from PIL import Image
from support.cache.pipelines import TRANSFORMS, cache_in, cached_plan
from support.images import encode, picture
from support.imaging.pipelines import make_task

from penstock.commands.checking.cache_estimate import ImageFile, estimate_cache, has_halved_colors
from penstock.worker.imaging.cache.folder import list_files, list_groups
from penstock.worker.imaging.cache.hints import UNIT_BYTES
from penstock.worker.imaging.pipeline import Pipeline

#: Height and width of each image.
SIZES = [(60, 80), (64, 64), (100, 40), (600, 700)]


def looked_at(path: Path) -> ImageFile:
    """Return what `penstock check` sees of an image."""
    with Image.open(path) as image:
        return ImageFile(image.height, image.width, jpeg=True, halved=has_halved_colors(image))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_estimate_is_what_is_kept(name: str, tmp_path: Path) -> None:
    """Every recipe: the bytes on the disk, and which images are kept at all."""
    transform, patches = TRANSFORMS[name]
    plan, names = cached_plan(transform, patches), []
    for number, (height, width) in enumerate(SIZES):
        names.append(f"{number}.jpg")
        (tmp_path / names[-1]).write_bytes(encode(picture(number, 0, height, width)))
    estimate = estimate_cache(plan, [looked_at(tmp_path / name) for name in names])
    cache = cache_in(tmp_path / "cache")
    outcome = Pipeline(plan, {"photos": tmp_path}, cache=cache).run(make_task(names))
    kept = round(estimate.fraction * len(SIZES))
    again = cache_in(tmp_path / "cache")
    Pipeline(plan, {"photos": tmp_path}, cache=again).run(make_task(names, epoch=4))
    assert kept - len(outcome.failures) <= again.counts.hits <= kept
    if again.counts.hits == kept > 0:
        held = sum(
            file.bytes for group in list_groups(cache.store.folder) for file in list_files(group) if file.segment
        )
        assert abs(held / kept - estimate.image_bytes) < UNIT_BYTES
        assert estimate.gb == pytest.approx(plan.items / len(SIZES) * held / 1e9, rel=0.03)


def test_the_sentence_says_whether_it_fits() -> None:
    """Without a cache, with one that is large enough, and with one that holds a part; and where there is nothing."""
    plan = cached_plan(TRANSFORMS["resized"][0])
    settings = plan.settings
    images = [ImageFile(60, 80, jpeg=True)]

    def said(gb: float | None) -> str:
        cache = None if gb is None or settings.cache is None else settings.cache.model_copy(update={"gb": gb})
        changed = plan.model_copy(update={"settings": settings.model_copy(update={"cache": cache})})
        return estimate_cache(changed, images).sentence

    kept = "images resized to 24 × 32 are kept, 2,432 bytes each, 0.00 GB in all"
    assert f"cache: none; with one, {kept}, and decoded once, not once an epoch" == said(None)
    assert f"cache: {kept}; they fit into cache.gb = 1" == said(1.0)
    assert f"cache: {kept}; cache.gb = 0.0001 holds 41% of them" == said(0.0001)
    assert "cache: nothing is kept: the source holds pixels, not image files" == estimate_cache(plan, []).sentence
    large = cached_plan(*TRANSFORMS["random_large"])
    assert (
        "other parts of them are decoded in every epoch"
        in estimate_cache(large, [ImageFile(999, 999, jpeg=True)]).sentence
    )
