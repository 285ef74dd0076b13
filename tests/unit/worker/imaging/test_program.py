"""Programs: actions that are combined give the pixels of the single actions, one after the other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.images import Pixels, picture

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation import Window
from penstock.protocol.spec.step import Action, Change, Levels, Move
from penstock.worker.imaging.operations.geometry.moves import Crop, Mirror, Pad, Scale
from penstock.worker.imaging.program import Program, Programmer

TABLES = np.random.default_rng(1).integers(0, 256, (3, 256), np.uint8)


def combined(actions: list[Action], size: tuple[int, int]) -> Program:
    """Return the program of some actions."""
    programmer = Programmer(size, 10**6)
    programmer.add(actions)
    return programmer.program()


def one_by_one(actions: list[Action], pixels: Pixels) -> Pixels:
    """Return what the actions make of an image, from their definitions."""
    for action in actions:
        if isinstance(action, Move):
            pixels = action.pixels(pixels)
        elif isinstance(action, Levels):
            pixels = action.table[pixels]
        else:
            pixels = action.function(pixels)
    return pixels


@st.composite
def programs(draw: st.DrawFn) -> tuple[list[Action], tuple[int, int]]:
    """Return up to eight actions for an image of some size."""
    size = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    first, actions = size, list[Action]()
    for kind in draw(st.lists(st.sampled_from(["crop", "mirror", "scale", "pad", "levels", "change"]), max_size=8)):
        action: Action
        match kind:
            case "crop":
                height, width = (draw(st.integers(1, side)) for side in size)
                top, left = draw(st.integers(0, size[0] - height)), draw(st.integers(0, size[1] - width))
                action = Crop(Window(top, left, height, width))
            case "mirror":
                action = Mirror(*draw(st.sampled_from([(True, False), (False, True), (True, True)])))
            case "scale":
                action = Scale((draw(st.integers(1, 30)), draw(st.integers(1, 30))), "bilinear")
            case "pad":
                action = Pad(draw(st.integers(0, 3)), draw(st.integers(0, 3)), 1, 0, "edge")
            case "levels":
                action = Levels(TABLES[draw(st.integers(0, 2))])
            case _:
                action = Change(lambda pixels: pixels ^ np.uint8(37))
        actions.append(action)
        size = action.size(size) if isinstance(action, Move) else size
    return actions, first


@settings(max_examples=60)
@given(programs(), st.sampled_from([1, 3]))
def test_a_program_gives_what_its_actions_give_one_after_the_other(
    case: tuple[list[Action], tuple[int, int]], channels: int
) -> None:
    """Whatever is combined, to the last bit; and the image stays as it was."""
    actions, size = case
    pixels = picture(3, 1, *size)[..., :channels]
    before, program = pixels.copy(), combined(actions, size)
    result = program.run(pixels)
    assert np.array_equal(one_by_one(actions, pixels), result)
    assert program.size == result.shape[:2]
    assert np.array_equal(before, pixels)


def test_crops_and_mirrorings_before_a_resampling_are_one_window() -> None:
    """Nothing outside of it has to be decoded."""
    mirror, crop = Mirror(horizontal=True, vertical=False), Crop(Window(10, 20, 30, 40))
    program = combined([mirror, crop, mirror, Crop(Window(1, 2, 20, 30)), Scale((5, 5), "box")], (100, 100))
    assert Program(Window(11, 42, 20, 30), (Scale((5, 5), "box"),), (5, 5), (100, 100)) == program


def test_neighbouring_tables_are_one_look_up() -> None:
    """Two tables, one after the other, are the table of their composition."""
    program = combined([Levels(TABLES[0]), Levels(TABLES[1])], (4, 4))
    assert 1 == len(program.actions)
    assert isinstance(program.actions[0], Levels)
    assert np.array_equal(TABLES[1][TABLES[0]], program.actions[0].table)


def test_alpha_moves_and_keeps_its_levels() -> None:
    """Actions on pixels see three channels; moves see four."""
    pixels = np.dstack([picture(3, 1, 6, 7), np.arange(42, dtype=np.uint8).reshape(6, 7)])
    actions: list[Action] = [
        Levels(TABLES[0]),
        Mirror(horizontal=True, vertical=False),
        Change(lambda colors: 255 - colors),
    ]
    result = combined(actions, (6, 7)).run(pixels)
    assert np.array_equal(pixels[:, ::-1, 3], result[..., 3])
    assert np.array_equal(255 - TABLES[0][pixels[:, ::-1, :3]], result[..., :3])


def test_too_large_an_image_is_not_made() -> None:
    """A step that would make more pixels than the limit fails the item, with both sizes."""
    with pytest.raises(ItemError, match=r"4096 × 2000 pixels \(height × width\) of 16 × 8, past the limit of 1 mega"):
        combined([Scale((4096, 2000), "bilinear")], (16, 8))


def test_a_change_that_makes_another_shape_is_a_bug() -> None:
    """It must not reach the sample's memory."""
    with pytest.raises(TypeError, match=r"uint8\(2, 4, 3\) of uint8\(4, 4, 3\)"):
        combined([Change(lambda pixels: pixels[:2])], (4, 4)).run(picture(3, 1, 4, 4))


WRITTEN: list[list[Action]] = [
    [],
    [Crop(Window(2, 3, 20, 30))],
    [Scale((24, 18), "bilinear")],
    [Scale((24, 18), "lanczos"), Pad(3, 0, 4, 1, "constant", (9, 8, 7))],
    [Crop(Window(2, 3, 20, 30)), Pad(0, 5, 0, 0, "constant", (4,))],
    [Mirror(horizontal=True, vertical=True), Pad(2, 2, 2, 2, "edge")],
    [Scale((40, 50), "bilinear"), Pad(0, 0, 0, 0)],
    [Levels(255 - np.arange(256, dtype=np.uint8)), Pad(1, 2, 3, 4)],
    [Pad(1, 2, 3, 4), Pad(4, 3, 2, 1, "reflect"), Levels(255 - np.arange(256, dtype=np.uint8))],
]


@pytest.mark.parametrize("actions", WRITTEN, ids=str)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_sample_is_written_as_it_is_returned(actions: list[Action], channels: int) -> None:
    """Whatever the last actions are, which write to the sample's place themselves; and nothing beside it."""
    pixels = np.random.default_rng(4).integers(0, 256, (40, 50, channels), np.uint8)
    programmer = Programmer((40, 50), 10**6)
    programmer.add(actions)
    expected = programmer.program().run(pixels)
    room = np.full((expected.shape[0], expected.shape[1] + 2, channels), 77, np.uint8)
    programmer.program().write(pixels, room[:, 1:-1])
    assert np.array_equal(expected, room[:, 1:-1])
    assert {77} == {*room[:, 0].ravel().tolist(), *room[:, -1].ravel().tolist()}
