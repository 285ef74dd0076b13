"""Fingerprints: pinned for a dozen specs, by both versions; defaults leave no trace."""

from typing import Any, Literal

import pytest
from pydantic import Field

from penstock.protocol import fingerprint as fingerprints
from penstock.protocol.fingerprint import fingerprint, fingerprint_1, version_of
from penstock.protocol.spec.custom import Custom
from penstock.protocol.spec.model import Model
from penstock.protocol.spec.spec import Spec, Stream, parse_spec

RESIZE = {"height": 32, "width": 32}
PATCH = {"kind": "random", "height": 16, "width": 16}
PRESET = {"preset": "ieee-sp-cup-2018"}
CHOICES = {"choices": [{"kind": "rot90"}, {"kind": "jpeg", "value": 70}]}
CUSTOM = {"name": "grain", "version": "1.2", "parameters": {"amount": 1, "on": False, "list": [1.0, None], "t": {}}}
SHARPEN = {"name": "sharpen", "produces": {"image": {"dtype": "float32", "shape": [32, 32, 3], "axes": "hwc"}}}
SPLIT = {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.5]}

#: What a stream has: the transform's fields, the stream's other fields.
SPECS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({"resize": RESIZE}, {}),
    "patches": ({"patch": PATCH}, {"patches": 3, "mix": 4}),
    "grid": ({"resize": RESIZE, "patch": {**PATCH, "kind": "grid", "rows": 2, "columns": 2}}, {"patches": 4}),
    "order": ({"resize": RESIZE}, {"shuffle": False, "shard": "2/3"}),
    "gray": ({"resize": {**RESIZE, "filter": "bicubic", "fit": "cover"}, "color": "gray"}, {}),
    "preset": (
        {"resize": {"height": 99, "width": 99}, "patch": PATCH, "manipulations": {"preset": "ieee-sp-cup-2018"}},
        {},
    ),
    "choices": (
        {
            "resize": RESIZE,
            "patch": PATCH,
            "manipulations": {"choices": [{"kind": "rot90"}, {"kind": "jpeg", "value": 70}]},
        },
        {},
    ),
    "augment": ({"resize": RESIZE, "augment": {"rotation_range": 20, "zoom_range": 0.1, "horizontal_flip": True}}, {}),
    "shift of 2 pixels": ({"resize": RESIZE, "augment": {"width_shift_range": 2}}, {}),
    "shift of 2.0 pixels": ({"resize": RESIZE, "augment": {"width_shift_range": 2.0}}, {}),
    "normalize": ({"resize": RESIZE, "normalize": {"rescale": 0.5, "featurewise_center": True, **SPLIT}}, {}),
    "custom": ({"resize": RESIZE, "custom": [CUSTOM, SHARPEN]}, {}),
    "limits": ({"resize": RESIZE, "max_megapixels": 20, "max_file_mb": 3.5}, {}),
}


def make(name: str) -> Spec:
    """Return a spec with one stream."""
    transform, rest = SPECS[name]
    stream = {"source": {"kind": "directory", "root": "photos"}, "transform": transform, **rest}
    return parse_spec({"seed": 7, "roots": {"photos": "/photos"}, "streams": {"train": stream}})


#: By version 1, as release 0.1.0 made them, and by version 2.
PINNED = {
    "plain": ("b82e29e55b5f71eb488124135d3bf210", "2:c86b6e3ca17cfe694e3395a13d921183"),
    "patches": ("375219c9e8ccdbf83265af416adf600b", "2:122c836444ed137530d562d2469582d4"),
    "grid": ("099159d8d89b41a760c2ebb4a0caece2", "2:7c2053e8011877a2b4f913385b63ee68"),
    "order": ("be5276852cff3317991f8027b0f4a7c3", "2:e743ef25080eac96585001de340ff587"),
    "gray": ("1f3ae3aadf4d50920fa74ebedae26503", "2:ca91c5170f1f1fa7c948525a5503c822"),
    "preset": ("6619dab98a573d860981eb9ef0caa6e6", "2:fff97cadd95a2ac0367453a27a583551"),
    "choices": ("9a38fd53bec3ceeb80674d915fb568dc", "2:8841e15d0b5c5010c865c34bbd070574"),
    "augment": ("48e208b6de21243c0967f93f4be87625", "2:c51e20f0a2ee567fb0f2ffe97d8fd6e4"),
    "shift of 2 pixels": ("1d352eec2a6618765ebc8bba63a275b8", "2:3a82e7ac66dfec6f1d793928e2ccb410"),
    "shift of 2.0 pixels": ("fe236a77db76d8e5502d2b229acce6af", "2:d064b53befd4a46f85cf2b1dbc615119"),
    "normalize": ("2ebb241b4f6c5bbfcbd9861d5f39db07", "2:b22d8e978b356181de4cb73dcab886a8"),
    "custom": ("d15521352fd3b2e79804fdadfe772a80", "2:93802509d954c35cd69fd87422a457f7"),
    "limits": ("551af57a5fc6e58d128c28c1685a8794", "2:c07f35f74eb93c28cd3647b81dfd567a"),
}


@pytest.mark.parametrize("name", SPECS)
def test_fingerprints_never_change_by_accident(name: str) -> None:
    """A change refuses every saved position and every recorded file. So a new field has a default and leaves no trace.

    A field that was added to `transform` belongs in `_SINCE_1`, which version 1 cannot express.
    """
    spec = make(name)
    stream = spec.streams["train"]
    assert PINNED[name] == (fingerprint_1(spec, stream, "listing"), fingerprint(spec, stream, "listing"))
    assert (1, 2) == tuple(map(version_of, PINNED[name]))


def test_all_pinned_specs_differ() -> None:
    """An integer is not a floating-point number, and no kind of a union is lost for having defaults only."""
    assert len(SPECS) == len({old for old, _ in PINNED.values()}) == len({new for _, new in PINNED.values()})


def spelled_out(value: Any) -> Any:
    """Return a spec's part with every default given explicitly, as JSON has it."""
    return value.model_dump(mode="json")


@pytest.mark.parametrize("name", SPECS)
def test_a_default_given_explicitly_is_a_default(name: str) -> None:
    """A spec with every default written out has the fingerprints of the short one."""
    spec = make(name)
    stream = spec.streams["train"]
    long = spec.model_copy(update={"streams": {"train": Stream.model_validate(spelled_out(stream))}})
    assert fingerprint(spec, stream, "l") == fingerprint(long, long.streams["train"], "l")


class Grown(Model):
    """A model before and after it has grown."""

    kept: int = 3
    added: dict[str, int] = Field(default_factory=dict)
    nested: Custom = Custom(name="x")


class Before(Model):
    """The same before."""

    kept: int = 3


def test_growth_leaves_no_trace() -> None:
    """New fields with a default, a default factory or a model as default are left out until they have another value."""
    assert fingerprints._told(Before(kept=4)) == fingerprints._told(Grown(kept=4)) == {"kept": 4}
    assert {"added": {"a": 1}} == fingerprints._told(Grown(added={"a": 1}))
    assert {"nested": {"name": "y"}} == fingerprints._told(Grown(nested=Custom(name="y")))


def test_parameters_of_custom_transforms_are_kept_whole() -> None:
    """They are the user's: values that look like defaults of ours stay."""
    told = fingerprints._told(Custom.model_validate(CUSTOM))
    assert CUSTOM == told


def test_a_spec_that_version_1_cannot_express_has_no_such_fingerprint() -> None:
    """Then no older position or file can be of its stream."""
    stream = {
        "source": {"kind": "directory", "root": "photos"},
        "transform": {"resize": RESIZE, "steps": [{"op": "flip"}]},
    }
    spec = parse_spec({"roots": {"photos": "/photos"}, "streams": {"train": stream}})
    assert "" == fingerprint_1(spec, spec.streams["train"], "l")
    assert fingerprint(spec, spec.streams["train"], "l") != fingerprint(
        make("plain"), make("plain").streams["train"], "l"
    )


def test_kinds_always_count() -> None:
    """The kind of a union's member is told even where the model gives it a default."""

    class Kind(Model):
        kind: Literal["a"] = "a"
        value: int = 1

    assert {"kind": "a"} == fingerprints._told(Kind())
