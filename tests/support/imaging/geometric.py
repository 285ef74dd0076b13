"""Random programs of every geometric step, for tests of what moves with the image."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from pydantic import TypeAdapter

from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.operation_table import step_models
from penstock.protocol.spec.step import Step
from penstock.worker.imaging.program import Program, Programmer

#: Every step that moves pixels, with parameters that show something of an image of 40 × 48; `FILTER` is put in.
GEOMETRIC: dict[str, dict[str, Any]] = {
    "affine": {"degrees": 40, "translate": (0.2, 0.1), "scale": (0.7, 1.4), "shear_x": (-15, 15), "shear_y": (-9, 9)},
    "center_crop": {"size": (36, 40)},
    "elastic": {"alpha": 30.0, "sigma": 4.0},
    "five_crop": {"size": (30, 28)},
    "flip": {"direction": "vertical"},
    "letterbox": {"size": (44, 60)},
    "pad": {"padding": (3, 5, 2, 0)},
    "perspective": {"distortion_scale": 0.6},
    "random_crop": {"size": (34, 38), "padding": 4, "pad_if_needed": True},
    "random_resized_crop": {"size": (40, 44), "scale": (0.3, 1.0)},
    "resize": {"shorter": 46},
    "rotate": {"degrees": 70},
    "ten_crop": {"size": (30, 28)},
}


@st.composite
def geometric_programs(
    draw: st.DrawFn, image: Size, filter_: str, fill: int, ops: tuple[str, ...] = tuple(GEOMETRIC), most: int = 3
) -> tuple[Program, list[str]]:
    """Return the program of up to `most` steps, each of which samples by `filter_` and fills with `fill`; their ops."""
    programmer, applied = Programmer(image, 10**6), []
    for op in draw(st.lists(st.sampled_from(ops), min_size=1, max_size=most)):
        model = step_models()[op]
        extra = {name: value for name, value in (("filter", filter_), ("fill", (fill,))) if name in model.model_fields}
        step: Step = TypeAdapter(model).validate_python({"op": op} | GEOMETRIC[op] | extra)
        if op in ("five_crop", "ten_crop") and (programmer.size[0] < 30 or programmer.size[1] < 28):
            continue
        draws = np.array([draw(st.floats(0, 1, exclude_max=True)) for _ in range(step.uniforms)])
        programmer.add(step.of_patch(draw(st.integers(0, step.views - 1))).actions(programmer.size, draws))
        applied.append(op)
    return programmer.program(), applied
