"""The policies change images as torchvision's do, given what they choose."""

import importlib
from collections import Counter
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.imaging.torchvision_reference import applied, drawn, functional, image, make_step, pil, transforms

from penstock.worker.imaging.operations.parameters import whole
from penstock.worker.imaging.operations.policies import aug_mix, auto_augment, timm_rand_augment
from penstock.worker.imaging.operations.policies.augmentations import NAMES, SIGNED, magnitude_of, signed

pytestmark = pytest.mark.torch

F, T = functional(), transforms()
torch: Any = importlib.import_module("torch")
stats: Any = importlib.import_module("scipy.stats")


def choice(name: str) -> float:
    """Return a uniform that chooses a change."""
    return (NAMES.index(name) + 0.5) / len(NAMES)


def theirs(policy: Any, pixels: Any, name: str, magnitude: float) -> Any:
    """Return what torchvision's policy makes of an image."""
    return np.asarray(
        policy._apply_image_or_video_transform(pil(pixels), name, magnitude, policy.interpolation, policy._fill)
    )


@pytest.mark.parametrize("size", [(64, 64), (40, 90)])
@pytest.mark.parametrize("name", NAMES)
def test_rand_augment_is_torchvisions(name: str, size: tuple[int, int]) -> None:
    """Each change, both signs, several magnitudes: the same pixels. Magnitudes follow the image's size."""
    pixels = image(1, *size)
    for magnitude in (0, 9, 14, 15, 30):
        step, policy = make_step("rand_augment", num_ops=1, magnitude=magnitude), T.RandAugment(1, magnitude)
        values, signed = policy._AUGMENTATION_SPACE[name]
        assert signed == (name in SIGNED)
        numbers = values(31, *size)
        amount = 0.0 if numbers is None else float(numbers[magnitude])
        assert abs(amount - step.magnitude_of(name, size)) < 1e-6
        for sign in (0.4, 0.6):
            expected = theirs(policy, pixels, name, -amount if signed and sign < 0.5 else amount)
            assert np.array_equal(expected, applied(step, pixels, np.array([choice(name), sign]))), magnitude


@pytest.mark.parametrize("name", NAMES)
def test_trivial_augment_is_torchvisions(name: str) -> None:
    """Each change at each magnitude: the same pixels."""
    step, policy, pixels = make_step("trivial_augment"), T.TrivialAugmentWide(), image(2, 48, 60)
    values, signed = policy._AUGMENTATION_SPACE[name]
    numbers = values(31, 48, 60)
    for place in range(0, 31, 3):
        amount = 0.0 if numbers is None else float(numbers[place])
        for sign in (0.4, 0.6):
            expected = theirs(policy, pixels, name, -amount if signed and sign < 0.5 else amount)
            draws = np.array([choice(name), (place + 0.5) / 31, sign])
            assert np.array_equal(expected, applied(step, pixels, draws)), place


def test_the_changes_are_torchvisions_in_its_order() -> None:
    """A uniform chooses among the same names."""
    assert tuple(T.RandAugment._AUGMENTATION_SPACE) == NAMES
    assert tuple(T.TrivialAugmentWide._AUGMENTATION_SPACE) == NAMES


@pytest.mark.parametrize("policy", ["imagenet", "cifar10", "svhn"])
def test_auto_augment_is_torchvisions(policy: str) -> None:
    """Each sub-policy, each of its changes applied or not, both signs: the same pixels as torchvision's own call."""
    step, reference = make_step("auto_augment", policy=policy), T.AutoAugment(T.AutoAugmentPolicy(policy))
    pixels = image(3, 40, 52)
    assert len(reference._policies) == 25
    for place, changes in enumerate(reference._policies):
        for sign in (0.4, 0.6):
            picture = pil(pixels)
            draws = [(place + 0.5) / 25]
            for name, probability, magnitude in changes:
                draws += [probability - 1e-9, sign]  # applied, unless the probability is 0
                if probability:
                    values, signed = reference._AUGMENTATION_SPACE[name]
                    numbers = values(10, 40, 52)
                    amount = 0.0 if numbers is None else float(numbers[magnitude])
                    picture = reference._apply_image_or_video_transform(
                        picture, name, -amount if signed and sign < 0.5 else amount, "nearest", reference._fill
                    )
            if all(probability for _, probability, _ in changes):
                assert np.array_equal(np.asarray(picture), applied(step, pixels, np.array(draws))), changes
            never = np.array([draws[0], changes[0][1], sign, changes[1][1], sign])  # [0, 1) is never less than 1
            if max(changes[0][1], changes[1][1]) < 1.0:
                assert np.array_equal(pixels, applied(step, pixels, never))


def test_aug_mix_mixes_as_torchvision() -> None:
    """Given chains and weights: torchvision's own sum of what its changes make of the PIL image, to the last bit."""
    step, reference, pixels = make_step("aug_mix"), T.AugMix(), image(6, 33, 47)
    assert tuple(reference._AUGMENTATION_SPACE) == aug_mix.NAMES
    assert tuple(reference._PARTIAL_AUGMENTATION_SPACE) == aug_mix.NAMES[:-4]
    for draws in drawn(step, 12):
        chains, weights = draws[4:].reshape(3, 10), aug_mix._shares(1.0 - draws[0], draws[1:4].tolist())
        total = torch.tensor(draws[0], dtype=torch.float32) * F.pil_to_tensor(pil(pixels))
        for weight, numbers in zip(weights, chains, strict=True):
            picture = pil(pixels)
            for which, place, sign in numbers[1 : 1 + 3 * (1 + int(3 * numbers[0]))].reshape(-1, 3):
                name = aug_mix.NAMES[int(which * 13)]
                values, signed = reference._AUGMENTATION_SPACE[name]
                amounts = values(10, 33, 47)
                amount = 0.0 if amounts is None else float(amounts[int(place * 3)])
                picture = reference._apply_image_or_video_transform(
                    picture, name, -amount if signed and sign <= 0.5 else amount, T.InterpolationMode.BILINEAR, {}
                )
            total.add_(torch.tensor(float(weight)) * F.pil_to_tensor(picture))
        expected = np.asarray(F.to_pil_image(total.to(torch.uint8)))
        difference = np.abs(expected.astype(int) - applied(step, pixels, draws))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1 / 100


def test_the_weights_of_aug_mix_are_distributed_as_torchvisions() -> None:
    """Kolmogorov-Smirnov: the weight of the image, and that of a chain."""
    step = make_step("aug_mix")
    torch.manual_seed(4)
    ones = torch.ones(100_000, 3)
    beta = torch._sample_dirichlet(ones[:, :2])
    chains = torch._sample_dirichlet(ones) * beta[:, 1:]
    rows = drawn(step, 100_000)
    shares = np.array([aug_mix._shares(1.0 - row[0], row[1:4].tolist()) for row in rows])
    assert stats.ks_2samp(beta[:, 0].numpy(), rows[:, 0]).pvalue > 1e-3
    for column in range(3):
        assert stats.ks_2samp(chains[:, column].numpy(), shares[:, column]).pvalue > 1e-3


def choices_of(reference: Any) -> Counter[Any]:
    """Return how often torchvision's policy chose each sequence of changes and magnitudes, in 20,000 calls."""
    counts: Counter[Any] = Counter()
    chosen: list[tuple[str, float]] = []

    def record(picture: Any, name: str, magnitude: float, **_: Any) -> Any:
        chosen.append((name, round(float(magnitude), 6)))
        return picture

    reference._apply_image_or_video_transform = record
    picture = pil(image(1, 20, 30))
    torch.manual_seed(8)
    for _ in range(20_000):
        chosen.clear()
        reference(picture)
        counts[tuple(chosen)] += 1
    return counts


def alike(ours: Counter[Any], theirs: Counter[Any]) -> bool:
    """Return whether two samples of choices may be of one distribution (chi-squared); rare choices count as one."""
    names = [name for name, count in (ours + theirs).items() if count >= 40]
    table = [[counts[name] for name in names] for counts in (ours, theirs)]
    table = [[*row, 1 + counts.total() - sum(row)] for row, counts in zip(table, (ours, theirs), strict=True)]
    return bool(stats.chi2_contingency(table).pvalue > 1e-3)


@pytest.mark.parametrize("op", ["rand_augment", "trivial_augment"])
def test_policies_draw_as_torchvision(op: str) -> None:
    """Which change, which magnitude, which sign: 10^5 draws against 20,000 of theirs."""
    reference = T.RandAugment(1, 9) if op == "rand_augment" else T.TrivialAugmentWide()
    amounts = {name: values(31, 20, 30) for name, (values, _) in reference._AUGMENTATION_SPACE.items()}
    ours: Counter[Any] = Counter()
    for draws in drawn(make_step(op, **({"num_ops": 1} if op == "rand_augment" else {})), 100_000).tolist():
        name = NAMES[whole(len(NAMES), draws[0])]
        place = 9 if op == "rand_augment" else whole(31, draws[1])
        found = amounts[name]
        ours[((name, round(signed(name, 0.0 if found is None else float(found[place]), draws[-1]), 6)),)] += 1
    assert alike(ours, choices_of(reference))


@pytest.mark.parametrize("policy", ["imagenet", "cifar10", "svhn"])
def test_auto_augment_draws_as_torchvision(policy: str) -> None:
    """Which sub-policy, which of its changes, and their signs: 10^5 draws against 20,000 of theirs."""
    ours: Counter[Any] = Counter()
    for row in drawn(make_step("auto_augment", policy=policy), 100_000).tolist():
        chosen = []
        changes = auto_augment.POLICIES[policy][whole(25, row[0])]
        for (name, probability, place), chance, sign in zip(changes, row[1::2], row[2::2], strict=True):
            if chance < probability:
                chosen.append((name, round(signed(name, magnitude_of(name, place, 10, (20, 30)), sign), 6)))
        ours[tuple(chosen)] += 1
    assert alike(ours, choices_of(T.AutoAugment(T.AutoAugmentPolicy(policy))))


def test_one_of_chooses_as_random_choice() -> None:
    """By the weights, whose distribution is torchvision's `p` (chi-squared, 10^5 draws)."""
    weights = [1.0, 2.0, 5.0]
    step = make_step("one_of", steps=[{"op": "invert"}, {"op": "flip"}, {"op": "equalize"}], weights=weights)
    rows = drawn(step, 100_000)
    counts = np.bincount([step.chosen(row[:0], row[1::2].tolist())[0] for row in rows], minlength=3)
    wanted = np.array(T.RandomChoice([None, None, None], p=weights).p) * len(rows)
    assert stats.chisquare(counts, wanted).pvalue > 1e-3


@pytest.mark.parametrize(
    ("settings", "reference"),
    [
        ({"op": "autocontrast"}, F.autocontrast),
        ({"op": "equalize"}, F.equalize),
        ({"op": "sharpness", "factor": [1.7, 1.7]}, lambda picture: F.adjust_sharpness(picture, 1.7)),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_changes_by_the_histogram_are_torchvisions(settings: dict[str, Any], reference: Any) -> None:
    """The same pixels."""
    for pixels in (image(1, 40, 61), image(2, 7, 5), np.full((4, 4, 3), 77, np.uint8), image(3, 30, 30) // 3 + 40):
        assert np.array_equal(np.asarray(reference(pil(pixels))), applied(make_step(**settings), pixels))


#: timm's names of what Penstock's step calls otherwise.
TIMM_NAMES = {"TranslateX": "TranslateXRel", "TranslateY": "TranslateYRel"} | {
    name: f"{name}Increasing" for name in ("Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness")
}


def test_timm_rand_augment_chooses_among_timms_changes() -> None:
    """In its order, by its policy of the name "rand-m7-mstd0.5-inc1": two changes, each with probability one half."""
    policy = timm_policy().rand_augment_transform("rand-m7-mstd0.5-inc1", {})
    assert [TIMM_NAMES.get(name, name) for name in timm_rand_augment.NAMES] == [op.name for op in policy.ops]
    assert {(0.5, 7, 0.5)} == {(op.prob, op.magnitude, op.magnitude_std) for op in policy.ops}
    step = make_step("timm_rand_augment", magnitude=7)
    assert (policy.num_layers, 0.5) == (step.num_ops, step.magnitude_std)


@pytest.mark.parametrize("size", [(64, 64), (40, 90)])
@pytest.mark.parametrize("name", timm_rand_augment.NAMES)
def test_timm_rand_augment_is_timms(name: str, size: tuple[int, int]) -> None:
    """Each change at several magnitudes, both ways: the same pixels; of turned ones, one of 400 by one level."""
    pixels, timm = image(1, *size), timm_policy()
    step = make_step("timm_rand_augment", num_ops=1)
    hparams = {"interpolation": Image.Resampling.BICUBIC, "img_mean": (124, 116, 104)}
    place = (timm_rand_augment.NAMES.index(name) + 0.5) / len(timm_rand_augment.NAMES)
    for magnitude in (0.0, 0.3, 4.8, 7.0, 9.99, 10.0)[: -1 if name == "Posterize" else None]:  # 0 bits: Pillow refuses
        exact = make_step("timm_rand_augment", num_ops=1, magnitude=magnitude, magnitude_std=0)
        theirs_of = timm.AugmentOp(TIMM_NAMES.get(name, name), 1.0, magnitude, hparams)
        ours = [applied(exact, pixels, np.array([place, 0.5, 0.3, 0.3, sign])) for sign in (0.5, 0.6)]
        found = {np.asarray(theirs_of(pil(pixels))).tobytes() for _ in range(24)}  # its sign is drawn, too
        if name != "Rotate":
            assert {each.tobytes() for each in ours} == found, magnitude
            continue
        for each in ours:
            differences = [np.abs(np.frombuffer(other, np.uint8).astype(int) - each.ravel()) for other in found]
            assert min(int(difference.max()) for difference in differences) <= 1, magnitude
            assert min(float((difference > 0).mean()) for difference in differences) <= 1 / 400, magnitude
    assert np.array_equal(pixels, applied(step, pixels, np.array([place, 0.51, 0.3, 0.3, 0.4])))


def test_timm_rand_augment_draws_as_timm() -> None:
    """10^5 magnitudes are normally distributed and cut at both ends; all changes are chosen alike."""
    step = make_step("timm_rand_augment", num_ops=1, magnitude=9, magnitude_std=1.5)
    rows = drawn(step, 100_000)
    magnitudes = np.array([step.magnitude_of(*row) for row in rows[:, 2:4].tolist()])
    normal = stats.norm(9, 1.5)
    inside = magnitudes[magnitudes < 10]
    assert stats.kstest(inside, lambda value: normal.cdf(value) / normal.cdf(10)).pvalue > 1e-3
    assert stats.binomtest(int((magnitudes == 10).sum()), len(rows), normal.sf(10)).pvalue > 1e-3
    counts = np.bincount((rows[:, 0] * len(timm_rand_augment.NAMES)).astype(int))
    assert stats.chisquare(counts).pvalue > 1e-3


def timm_policy() -> Any:
    """Return timm's module of policies."""
    return importlib.import_module("timm.data.auto_augment")
