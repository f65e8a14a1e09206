"""Arguments of transforms: what is refused, where the message says so, and steps with all of them said."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from transform_settings import SIZE, copies, made, photo, settings_of

from patchcli.errors import UsageError
from patchcli.pipeline import catalogue, transforms
from patchcli.pipeline.catalogue import CATALOGUE
from patchcli.pipeline.hints import OLD, of_older
from patchcli.pipeline.seeding import Streams
from patchcli.pipeline.tree import Step

MESSAGES = [
    ("Afine", {}, "no transform is called 'Afine'; did you mean Affine?"),
    ("Normalize", {}, "Normalize cannot be used: values are standardised by --rescale"),
    ("Lambda", {}, "Lambda cannot be used: it runs code"),
    ("Rotate", {"limt": 3}, "Rotate has no argument 'limt'; did you mean limit?"),
    ("Rotate", {"limit": "30"}, "Rotate: limit: '30': a number, not text"),
    ("Rotate", {"limit": True}, "Rotate: limit: True: not a matter of true or false"),
    ("Rotate", {"limit": [1, 2, 3]}, r"Rotate: limit: \[1, 2, 3\]: "),
    ("Rotate", {"limit": 1e7}, "at most 1000000"),
    ("Rotate", {"limit": float("nan")}, "Rotate: limit: nan"),
    ("Rotate", {"limit": [[[[[1]]]]]}, "too deep"),
    ("Rotate", {"limit": [0] * 1001}, "too long"),
    ("Rotate", {"limit": len}, "no plain value"),
    ("Rotate", {"interpolation": "kubic"}, "did you mean cubic?"),
    ("Rotate", {"border_mode": 7}, "one of constant, replicate"),
    ("Rotate", {"crop_border": True}, "changes the size"),
    ("Affine", {"shear": {"x": 5}}, "both x and y"),
    ("Kears", {}, "no transform is called 'Kears'; did you mean Keras?"),
    ("OneOff", {}, "no transform is called 'OneOff'; did you mean OneOf?"),
    ("GaussNoise", {"var_limit": 9}, "no argument 'var_limit'; albumentations 1 had it: say std_range, a share of the"),
    ("Blur", {"always_apply": False}, "albumentations 1 had it: drop it, and say p: 1 for true"),
    ("Rotate", {"value": 9}, "no argument 'value'; albumentations 1 had it: say fill "),
    ("Affine", {"cval": 9}, "no argument 'cval'; albumentations 1 had it: say fill "),
    ("CoarseDropout", {"max_holes": 9}, "albumentations 1 had it: say num_holes_range: "),
    ("RandomResizedCrop", {"height": 9}, "albumentations 1 had it: drop it, the patch's size is taken"),
    ("ElasticTransform", {"alpha_affine": 9}, "albumentations 1 had it: it is gone"),
    ("Equalize", {"mask": 1}, "has no argument 'mask'"),
    ("PlasmaShadow", {"plasma_size": 9}, "has no argument 'plasma_size'"),
    ("Sharpen", {"method": "gaussian"}, "wraps around"),
    ("Illumination", {"mode": "corner"}, "not the same every time"),
    ("RandomResizedCrop", {"size": [32, 32]}, "the patches are"),
    ("RandomSizedCrop", {"min_max_height": [100, 200]}, "larger than the patches"),
    ("RandomSizedCrop", {}, "needs min_max_height"),
    ("RandomSizedCrop", {"min_max_height": [20, 30], "w2h_ratio": 2}, "larger than the patches"),
    ("RandomSizedCrop", {"min_max_height": [20, 30], "w2h_ratio": [1, 1]}, "w2h_ratio"),
    ("MedianBlur", {"blur_limit": 257}, "at most 255"),
    ("AdditiveNoise", {"noise_params": {"range": [[0, 1]]}}, "AdditiveNoise: "),
    ("CoarseDropout", {"fill": 256}, "uint8 patches hold 0 to 255"),
    ("CoarseDropout", {"fill": [1, 2]}, "one for each of 3"),
    ("Posterize", {"num_bits": [[1, 2], [3, 4]]}, "one for each of 3"),
    ("ThinPlateSpline", {"num_control_points": 1000}, "at most 10"),
    ("ZoomBlur", {"step_factor": 1e-9}, "at least"),
    ("GaussNoise", {"std_range": [0.5, 0.1]}, r"GaussNoise: std_range: \[0.5, 0.1\]"),
    ("Blur", {"blur_limit": 4}, "odd"),
    ("XYMasking", {"num_masks_x": 1, "mask_x_length": 80}, "fails on patches of 40x40 px"),
    ("ToGray", {"num_output_channels": 1}, "ToGray makes"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), MESSAGES)
def test_errors_say_where_what_and_why(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^aug.yaml, line 7: .*{message}") as caught:
        made(name, arguments, photo(3), Streams())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", CATALOGUE)
def test_resolved_makes_the_same_transform_again(name: str) -> None:
    patch = photo(3)
    for arguments in settings_of(name):
        step = Step(name, arguments, None, "aug.yaml, line 7")
        full = transforms.resolved(step, (SIZE, SIZE, 3), patch.dtype)
        said = json.loads(json.dumps(dict(full.arguments)))
        again = Step(name, said, full.p)
        assert said == full.arguments
        assert transforms.resolved(again, (SIZE, SIZE, 3), patch.dtype) == full
        assert [*said, "p"] == [key for key, _ in transforms.parameters(name)]
        assert {k: v.tobytes() for k, v in copies(name, arguments, patch).items()} == {
            k: v.tobytes() for k, v in copies(name, said, patch).items()
        }


def test_what_albumentations_1_had_is_no_more_and_what_to_say_now_is() -> None:
    for (name, key), advice in OLD.items():
        known = [parameter for parameter, _ in transforms.parameters(name)]
        assert key not in known
        if advice.startswith("say "):
            said = re.findall(r"\w+", advice.partition(":")[0].partition(",")[0])[1:]
            assert {one for one in said if one != "and"} <= set(known), (name, key)
    assert of_older("Blur", "var_limit") is None


def test_a_name_without_place_and_near_names() -> None:
    with pytest.raises(UsageError, match=r"^no transform is called 'xyzzy'; `patchcli augment --list-transforms`"):
        catalogue.support(Step("xyzzy", {}))
    assert catalogue.nearest("horizontalflip") == "HorizontalFlip"
    assert catalogue.nearest("q") is None


@pytest.mark.parametrize("p", [-0.1, 1.1, True, "0.5", float("nan")])
def test_p_must_be_a_probability(p: Any) -> None:
    with pytest.raises(UsageError, match=r"^Blur: p: .*: a probability from 0 to 1"):
        transforms.make_transform(Step("Blur", {}, p), Streams(), (8, 8, 3), np.uint8)


def test_p_is_the_default_of_albumentations_and_is_not_drawn_again() -> None:
    for name, p in (("HorizontalFlip", 0.5), ("D4", 1.0)):
        assert transforms.make_transform(Step(name, {}), Streams(), (8, 8, 3), np.uint8).p == p
    patch, streams = photo(3), Streams()
    never = transforms.make_transform(Step("HorizontalFlip", {}, 0.0), streams, (SIZE, SIZE, 3), np.uint8)
    assert np.array_equal(never.apply(patch, never.draw(patch)), patch[:, ::-1])


def test_constants_may_be_said_by_name_or_number() -> None:
    said: list[dict[str, Any]] = [
        {"interpolation": 2, "border_mode": 1},
        {"interpolation": "cubic", "border_mode": "replicate"},
        {"interpolation": "INTER_CUBIC", "border_mode": "cv2.BORDER_REPLICATE"},
    ]
    steps = [transforms.resolved(Step("Rotate", each), (SIZE, SIZE, 3), np.uint8) for each in said]
    assert steps[0] == steps[1] == steps[2]
    assert steps[0].arguments["interpolation"] == "cubic"
