"""`patchcli augment`: options and where they come from, pipelines in files, messages, previews, what is printed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result
from photos import by_identity, table
from PIL import Image

import patchcli
from patchcli.cli import main

FLIP = "- HorizontalFlip: {p: 0.5}\n"


def invoke(*arguments: object, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments], env=env, prog_name="patchcli")


def augment(src: Path, out: Path, *more: object, env: dict[str, str] | None = None) -> Result:
    return invoke("augment", src, out, "--executor", "serial", *more, env=env)


def done(out: Path) -> dict[str, Any]:
    """What a data set says was done to it."""
    said: dict[str, Any] = patchcli.open(out).settings["augment"]
    return said


@pytest.fixture
def yaml(tmp_path: Path) -> Path:
    return tmp_path / "aug.yaml"


def test_augment_says_what_it_made(cut: Path, tmp_path: Path) -> None:
    options = ("--rotation-range", 20, "--horizontal-flip", "--copies", 3, "--seed", 7)
    first = augment(cut, tmp_path / "out.h5", *options)
    assert (first.exit_code, first.stderr) == (0, ""), first.output
    for said in ("320 patches of 32x32 px, RGB", "brick", "4 classes", "240, and 80 originals", "rotation_range=20"):
        assert said in first.stdout
    assert re.search(r"seed +7\n", first.stdout)
    again = augment(cut, tmp_path / "out.h5", *options)
    assert (again.exit_code, "already done" in again.stdout) == (0, True)
    other = augment(cut, tmp_path / "out.h5", *options[:-1], 8)
    assert other.exit_code == 1
    assert "7 -> 8" in other.stderr
    assert augment(cut, tmp_path / "out.h5", *options[:-1], 8, "--overwrite").exit_code == 0


def test_inspect_shows_what_was_done(cut: Path, tmp_path: Path) -> None:
    options = ("--rotation-range", 20, "--copies", 2, "--seed", 7, "--rescale", "1/255")
    assert augment(cut, tmp_path / "out.h5", *options).exit_code == 0
    shown = invoke("inspect", tmp_path / "out.h5")
    assert shown.exit_code == 0
    for said in ("float32", "rotation_range=20", "rescale", patchcli.open(cut).plan_id):
        assert said in shown.stdout
    assert re.search(r"with +2 copies of each patch, seed 7\n", shown.stdout)
    facts = json.loads(invoke("inspect", tmp_path / "out.h5", "--json").stdout)
    assert facts["settings"]["augment"]["pipeline"][0]["Keras"]["rotation_range"] == 20
    assert facts["patches"] == 240
    assert [one["patches"] for one in facts["classes"]] == [60] * 4


def test_json_and_dry_run(cut: Path, tmp_path: Path) -> None:
    options = ("--rotation-range", 20, "--copies", 2, "--shard-size", "200kB")
    planned = augment(cut, tmp_path / "out.h5", *options, "--dry-run")
    assert planned.exit_code == 0
    assert re.search(r"737,280 bytes .* in 4 shards", planned.stdout)
    assert re.search(r"memory .* a worker", planned.stdout)
    assert "nothing written" in planned.stdout
    facts = [json.loads(augment(cut, tmp_path / "out.h5", *options, "--dry-run", "--json").stdout)]
    assert list(tmp_path.iterdir()) == []
    facts += [json.loads(augment(cut, tmp_path / "out.h5", *options, "--json").stdout) for _ in range(2)]
    assert [one["state"] for one in facts] == ["planned", "made", "already done"]
    assert facts[0]["bytes"] == 240 * 32 * 32 * 3
    on_disk = sum(path.stat().st_size for path in tmp_path.rglob("*.h5"))
    for one in facts[1:]:
        assert one["bytes"] == on_disk
    for key in ("patches", "copies", "originals", "classes", "pipeline", "seed", "shards", "plan_id", "worker_bytes"):
        assert facts[0][key] == facts[1][key] == facts[2][key]
    assert (facts[0]["patches"], facts[0]["copies"], facts[0]["shards"]) == (240, 160, 4)
    assert facts[0]["pipeline"] == done(tmp_path / "out.h5")["pipeline"]


def test_values_come_from_file_environment_and_command_line(cut: Path, tmp_path: Path, yaml: Path) -> None:
    yaml.write_text("copies: 2\nseed: 3\nrotation-range: 20\nzoom_range: [0.8, 1.2]\nhorizontal_flip: true\n")
    env = {"PATCHCLI_AUGMENT_COPIES": "4", "PATCHCLI_AUGMENT_SEED": "9", "PATCHCLI_AUGMENT_KEEP_ORIGINAL": "false"}
    for number, (more, given, expected) in enumerate(
        [
            ((), {}, (2, 3, True)),
            ((), env, (4, 9, False)),
            (("--copies", 1, "--keep-original"), env, (1, 9, True)),
        ]
    ):
        out = tmp_path / f"{number}.h5"
        assert augment(cut, out, "--config", yaml, *more, env=given).exit_code == 0
        said = done(out)
        assert (said["copies"], said["seed"], said["keep_original"]) == expected
        keras = said["pipeline"][0]["Keras"]
        assert (keras["rotation_range"], keras["zoom_range"], keras["horizontal_flip"]) == (20, [0.8, 1.2], True)
    from_env = {**env, "PATCHCLI_AUGMENT_CONFIG": str(yaml), "PATCHCLI_AUGMENT_JSON": "1"}
    facts = json.loads(augment(cut, tmp_path / "e.h5", "--rotation-range", 5, "--dry-run", env=from_env).stdout)
    assert (facts["copies"], facts["pipeline"][0]["Keras"]["rotation_range"]) == (320, 5)


def test_one_file_means_the_same_in_python(cut: Path, tmp_path: Path, yaml: Path) -> None:
    yaml.write_text("copies: 2\nseed: 3\nexecutor: serial\nshear_range: 0.2rad\nwidth_shift_range: [-4, 0, 4]\n")
    assert invoke("augment", cut, tmp_path / "cli.h5", "--config", yaml).exit_code == 0
    patchcli.augment(cut, tmp_path / "api.h5", config=yaml)
    assert (tmp_path / "cli.h5").read_bytes() == (tmp_path / "api.h5").read_bytes()
    patchcli.augment(
        cut,
        tmp_path / "args.h5",
        copies=2,
        seed=3,
        shear_range="0.2rad",
        width_shift_range=[-4, 0, 4],
        executor="serial",
    )
    assert (tmp_path / "args.h5").read_bytes() == (tmp_path / "api.h5").read_bytes()


def test_the_forms_of_a_pipeline_mean_the_same(cut: Path, tmp_path: Path) -> None:
    import albumentations

    chosen = albumentations.OneOf([albumentations.HorizontalFlip(p=1), albumentations.VerticalFlip(p=0.5)], p=0.9)
    whole = albumentations.Compose([albumentations.GaussNoise(std_range=(1e-5, 0.1), p=0.5), chosen])
    albumentations.save(whole, str(tmp_path / "saved.yaml"), data_format="yaml")
    albumentations.save(whole, str(tmp_path / "saved.json"), data_format="json")
    short = (
        "- GaussNoise: {std_range: [0.00001, 0.1], p: 0.5}\n"
        "- OneOf: {p: 0.9, transforms: [HorizontalFlip: {p: 1}, VerticalFlip: {p: 0.5}]}\n"
    )
    (tmp_path / "list.yaml").write_text(short)
    indented = "".join(f"  {line}\n" for line in short.splitlines())
    (tmp_path / "options.yaml").write_text(f"copies: 1\npipeline:\n{indented}")
    for name in ("saved.yaml", "saved.json", "list.yaml", "options.yaml"):
        made = augment(cut, tmp_path / f"{name}.h5", "--config", tmp_path / name)
        assert made.exit_code == 0, made.output
        assert done(tmp_path / f"{name}.h5")["pipeline"] == done(tmp_path / "saved.yaml.h5")["pipeline"]
        assert by_identity(tmp_path / f"{name}.h5") == by_identity(tmp_path / "saved.yaml.h5")
    again = tmp_path / "resolved.json"
    again.write_text(json.dumps(done(tmp_path / "saved.yaml.h5")["pipeline"]))
    assert augment(cut, tmp_path / "saved.yaml.h5", "--config", again).stdout.count("already done") == 1


DEEP = "- " + "Sequential: [" * 8 + "HorizontalFlip" + "]" * 8


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("copis: 3\nrotation_range: 3\n", ["copis is not an option of augment", "did you mean copies?"]),
        (FLIP + "- VerticlFlip\n", ["line 2: no transform is called 'VerticlFlip'", "did you mean VerticalFlip?"]),
        (FLIP + "- Rotate:\n    limt: 3\n", ["Rotate has no argument 'limt'; did you mean limit?"]),
        ("- Rotate: {limit: abc}\n", ["line 1: Rotate: limit: 'abc'"]),
        ("- Rotate: {limit: [1, 2, 3]}\n", ["line 1: Rotate: limit"]),
        ("- Rotate: {p: 1.5}\n", ["line 1: Rotate: p is 1.5", "from 0 to 1"]),
        ("- GaussNoise: {std_range: [0.5, 7]}\n", ["line 1: GaussNoise: std_range"]),
        ("- Blur: {blur_limit: 100000}\n", ["line 1: Blur: blur_limit"]),
        ("- Resize: {height: 3, width: 3}\n", ["Resize cannot be used", "one size"]),
        ("- Normalize\n", ["Normalize cannot be used", "--rescale"]),
        ("- Lambda: {}\n", ["Lambda cannot be used"]),
        ("- Affine: {fit_output: true}\n", ["line 1: Affine", "size"]),
        ("- Keras: {rotation_rnge: 3}\n", ["line 1", "rotation_rnge", "rotation_range"]),
        (FLIP + "- Keras: {rotation_range: 400}\n", ["line 2", "rotation_range is 400", "360"]),
        ("- OneOf: []\n", ["line 1: OneOf takes a list of transforms"]),
        ("- OneOf: {transfroms: [Blur], transforms: [Blur]}\n", ["did you mean transforms?"]),
        ("- SomeOf: {n: 3, transforms: [Blur, Rotate]}\n", ["cannot choose n = 3 of 2"]),
        (DEEP, ["nested deeper than 8"]),
        ("[" * 60 + "]" * 60, ["nested deeper"]),
        (FLIP + "#" * 1_100_000, ["larger than 1 MB"]),
        ("- !!python/object/apply:os.mkdir [pwned]\n", ["line 1", "os.mkdir", "not taken"]),
        ("- !!python/name:os.getcwd\n", ["line 1", "not taken"]),
        ("- HorizontalFlip: {p: !!timestamp 2020-01-01}\n", ["line 1", "not taken"]),
        ("- &a HorizontalFlip\n- *a\n", ["line 1: anchors and aliases are not taken"]),
        ("- HorizontalFlip: {p: 0.5, p: 0.6}\n", ["line 1: 'p'", "twice"]),
        ("- HorizontalFlip: {p: .nan}\n", ["HorizontalFlip: p is", "from 0 to 1"]),
        ("- HorizontalFlip: [\n", ["not YAML"]),
        ("- Blur # \xc3(\n", ["not YAML"]),
        ("just text\n", ["a pipeline is a list of transforms"]),
        ("", ["aug.yaml"]),
        ("transform: {__class_fullname__: Compose, transforms: [{__class_fullname__: os.Evil}]}\n", ["Evil"]),
        ("transform: 3\n", ["__class_fullname__"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_pipeline_is_said(
    cut: Path, tmp_path: Path, yaml: Path, content: str, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    yaml.write_bytes(content.encode("latin-1"))
    found = augment(cut, tmp_path / "out.h5", "--config", yaml)
    assert found.exit_code == 2, found.output
    for words in ("aug.yaml", *said):
        assert words in found.stderr
    assert len(found.stderr) < 1000
    assert [path.name for path in tmp_path.iterdir()] == ["aug.yaml"]


def test_eight_levels_are_taken(cut: Path, tmp_path: Path, yaml: Path) -> None:
    yaml.write_text("- " + "Sequential: [" * 7 + "HorizontalFlip" + "]" * 7)
    assert augment(cut, tmp_path / "out.h5", "--config", yaml, "--dry-run").exit_code == 0


def test_a_pipeline_and_keras_ranges_say_what_to_do(cut: Path, tmp_path: Path, yaml: Path) -> None:
    yaml.write_text(FLIP)
    both = augment(cut, tmp_path / "out.h5", "--config", yaml, "--rotation-range", 20)
    assert both.exit_code == 2
    step = re.search(r"- Keras: .*", both.stderr)
    assert step
    yaml.write_text(FLIP + step[0] + "\n")
    assert augment(cut, tmp_path / "out.h5", "--config", yaml).exit_code == 0
    assert done(tmp_path / "out.h5")["pipeline"][1]["Keras"]["rotation_range"] == 20


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to do"),
        (["--copies", "3"], "nothing to do"),
        (["--rescale", "1/255", "--copies", "2"], "equal to their originals"),
        (["--rotation-range", "20", "--copies", "0"], "copies is 0"),
        (["--rotation-range", "20", "--copies", "32768"], "32767"),
        (["--rotation-range", "20", "--copies", "-1"], "--copies"),
        (["--rotation-range", "20", "--copies", "1.5"], "--copies"),
        (["--rotation-range", "20", "--seed", "-1"], "--seed"),
        (["--rotation-range", "20", "--seed", str(2**63)], "seed"),
        (["--rotation-range", "20", "--only-split", "train"], "no splits"),
        (["--rotation-range", "20", "--shard-size", "0"], "shard_size"),
        (["--rotation-range", "20", "--compression", "rar"], "--compression"),
        (["--rotation-range", "twenty"], "rotation_range"),
        (["--rotation-range", "nan"], "rotation_range"),
        (["--shear-range", "100"], "shear_range"),
        (["--zoom-range", "1.5"], "zoom_range"),
        (["--zoom-range", "0,2"], "zoom_range"),
        (["--brightness-range", "0.5"], "brightness_range"),
        (["--width-shift-range", "-3"], "width_shift_range"),
        (["--fill-mode", "mirror", "--rotation-range", "3"], "fill_mode"),
        (["--rescale", "0"], "rescale"),
        (["--rescale", "1/0"], "rescale"),
        (["--zca-whitening", "--featurewise-std-normalization"], "zca_whitening scales too"),
        (["--zca-epsilon", "0", "--zca-whitening"], "zca_epsilon"),
        (["--config", "none.yaml"], "none.yaml"),
        (["--rotation-rnge", "20"], "--rotation-range"),
    ],
)
def test_usage_errors_end_with_2(cut: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    found = augment(cut, tmp_path / "out.h5", *arguments)
    assert found.exit_code == 2, found.output
    assert said in found.stderr
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be(cut: Path, tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["patches"] = np.zeros((2, 3, 3, 1), np.uint8)
    flip = ["--horizontal-flip"]
    assert invoke("augment", *flip).exit_code == 2
    assert "OUT.h5 is missing" in invoke("augment", cut, *flip).stderr
    missing = augment(tmp_path / "none.h5", tmp_path / "out.h5", *flip)
    assert missing.exit_code in (1, 2)
    assert "none.h5" in missing.stderr
    for name in ("text.h5", "foreign.h5"):
        found = augment(tmp_path / name, tmp_path / "out.h5", *flip)
        assert found.exit_code == 1
        assert name in found.stderr
    before = cut.read_bytes()
    assert augment(cut, cut, *flip, "--overwrite").exit_code == 2
    assert cut.read_bytes() == before
    (tmp_path / "dir.h5").mkdir()
    assert augment(cut, tmp_path / "dir.h5", *flip).exit_code in (1, 2)
    assert augment(cut, tmp_path / "no/such/out.h5", *flip).exit_code in (1, 2)
    assert not (tmp_path / "out.h5").exists()


def test_a_set_of_splits(cut_splits: Path, tmp_path: Path) -> None:
    made = augment(cut_splits, tmp_path / "out.h5", "--rotation-range", 20, "--balance", "--copies", 1)
    assert made.exit_code == 0
    assert "train alone is augmented" in made.stdout
    src = patchcli.open(cut_splits)
    whole, train = src.class_counts(), src.subset(split="train").class_counts()
    for name, n in train.items():
        copies = divmod(2 * max(train.values()) - n, n)
        said = f"{copies[0]} or {copies[0] + 1}" if copies[1] else str(copies[0])
        after = 2 * max(train.values()) + whole[name] - n
        assert re.search(rf"{name} +{whole[name]} +{n} +{said} +{after}\n", made.stdout)
    wrong = augment(cut_splits, tmp_path / "no.h5", "--rotation-range", 20, "--only-split", "tets")
    assert wrong.exit_code == 2
    assert "train, val" in wrong.stderr


# Previews and lists


def test_preview_draws_and_writes_nothing_else(cut: Path, tmp_path: Path) -> None:
    sizes = []
    for rows, copies in ((2, 1), (8, 1), (8, 3)):
        sheet = tmp_path / f"{rows}{copies}.png"
        found = invoke("augment", cut, "--rotation-range", 30, "--copies", copies, "--preview", sheet, "--rows", rows)
        assert found.exit_code == 0, found.output
        assert f"{rows} patches" in found.stdout
        with Image.open(sheet) as image:
            assert image.format == "PNG"
            sizes.append(image.size)
    assert sizes[0][1] + 6 * 32 <= sizes[1][1]
    assert sizes[1][0] + 2 * 32 <= sizes[2][0]
    again = tmp_path / "again.png"
    invoke("augment", cut, tmp_path / "out.h5", "--rotation-range", 30, "--copies", 3, "--preview", again)
    assert again.read_bytes() == (tmp_path / "83.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["21.png", "81.png", "83.png", "again.png"]


def test_preview_shows_all_classes_and_the_copies_that_are_written(cut: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"rotation_range": 30, "copies": 2, "seed": 4}
    patchcli.augment(cut, tmp_path / "out.h5", executor="serial", **options)
    written = {patch.tobytes() for patch in patchcli.open(tmp_path / "out.h5")[:]}
    rows = list(patchcli.Augmented(cut, **options).sample(8))
    assert [row.class_name for row in rows] == [name for name in patchcli.open(cut).classes for _ in range(2)]
    for row in rows:
        assert len(row.patches) == 3
        assert all(patch.tobytes() in written for patch in row.patches)


def test_preview_of_train_with_a_pipeline_and_standardising(cut_splits: Path, tmp_path: Path, yaml: Path) -> None:
    yaml.write_text(f"featurewise_center: true\npipeline:\n  {FLIP}")
    found = invoke("augment", cut_splits, "--config", yaml, "--preview", tmp_path / "s.png", "--rows", 3)
    assert (found.exit_code, (tmp_path / "s.png").exists()) == (0, True)
    rows = patchcli.Augmented(cut_splits, config=yaml).sample(1000)
    src = patchcli.open(cut_splits)
    names = {src.sources.path[source].decode() for source in src.subset(split="train").source}
    assert {row.source for row in rows} <= names
    bad = invoke("augment", cut_splits, "--config", yaml, "--preview", tmp_path / "no/s.png")
    assert (bad.exit_code, "does not exist: create it first" in bad.stderr) == (2, True)
    assert invoke("augment", cut_splits, "--preview", tmp_path / "t.png").exit_code == 2
    assert not (tmp_path / "t.png").exists()


def test_list_transforms_lists_all_with_defaults() -> None:
    import albumentations

    found = invoke("augment", "--list-transforms")
    assert found.exit_code == 0
    assert max(map(len, found.stdout.splitlines())) <= 120
    entries = re.findall(r"^  (\w+)\(((?:.*\n +)*?.*)\)$", found.stdout, re.MULTILINE)
    listed = {name: " ".join(arguments.split()) for name, arguments in entries if name != "Keras"}
    assert len(listed) > 60
    for name, arguments in listed.items():
        assert hasattr(albumentations, name)
        assert re.search(r"\bp=[01]", arguments)
        assert "object at" not in arguments
    assert listed["HorizontalFlip"] == "p=0.5"
    assert re.match(r"limit=\[-90, 90\], interpolation=linear, ", listed["Rotate"])
    for group in ("OneOf", "SomeOf", "Sequential", "Keras"):
        assert f"\n  {group}(" in found.stdout
    assert "uint16" in found.stdout


def test_help_reads_well() -> None:
    found = invoke("augment", "--help")
    assert found.exit_code == 0
    options = found.stdout.partition("Options:\n")[2]
    for entry in re.split(r"\n  (?=-)", options):
        said = " ".join(entry.split())
        assert "[default:" in said or "--version" in said or "--help" in said, said
    for words in ("0.2rad", "--list-transforms", "PATCHCLI_AUGMENT_COPIES"):
        assert words in found.stdout
    assert "augment" in invoke("--help").stdout
    assert invoke("augment", "--version").stdout.strip() == f"patchcli, version {patchcli.__version__}"


def test_radians_and_degrees(cut: Path, tmp_path: Path) -> None:
    assert augment(cut, tmp_path / "r.h5", "--shear-range", "0.2rad").exit_code == 0
    assert augment(cut, tmp_path / "d.h5", "--shear-range", "0.2").exit_code == 0
    shears = [done(tmp_path / f"{name}.h5")["pipeline"][0]["Keras"]["shear_range"] for name in "rd"]
    assert shears == pytest.approx([11.459155902616466, 0.2])
    assert (table(tmp_path / "r.h5", "digest") != table(tmp_path / "d.h5", "digest")).any()


def test_a_preview_replaces_pictures_only(cut: Path, tmp_path: Path) -> None:
    """What is no PNG stays, be it the input itself."""
    before = cut.read_bytes()
    assert invoke("augment", cut, "--horizontal-flip", "--preview", cut).exit_code == 2
    assert cut.read_bytes() == before
    sheet = tmp_path / "s.png"
    sheet.write_text("not a picture")
    found = invoke("augment", cut, "--horizontal-flip", "--preview", sheet)
    assert (found.exit_code, sheet.read_text()) == (2, "not a picture")
    assert "is no PNG" in found.stderr
    sheet.unlink()
    for _ in range(2):  # a picture is replaced
        assert invoke("augment", cut, "--horizontal-flip", "--preview", sheet).exit_code == 0
    assert invoke("augment", cut, "--horizontal-flip", "--preview", tmp_path / "t.png", "--dry-run").exit_code == 2
    assert not (tmp_path / "t.png").exists()


def test_a_switch_of_a_file_can_be_turned_off(cut: Path, tmp_path: Path, yaml: Path) -> None:
    yaml.write_text("horizontal_flip: true\nrotation_range: 5\n")
    found = invoke("augment", cut, tmp_path / "o.h5", "--config", yaml, "--no-horizontal-flip", "--dry-run", "--json")
    assert json.loads(found.stdout)["pipeline"] == [{"Keras": {"rotation_range": 5.0, "p": 1.0}}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cval", "5", "--rotation-range", "3"], "cval has no effect"),
        (["--fill-mode", "reflect", "--horizontal-flip"], "fill_mode has no effect"),
        (["--zca-epsilon", "3", "--rotation-range", "3"], "zca_epsilon has no effect"),
    ],
)
def test_options_without_effect_are_refused(cut: Path, tmp_path: Path, options: list[str], message: str) -> None:
    found = invoke("augment", cut, tmp_path / "o.h5", *options)
    assert (found.exit_code, message in found.stderr, (tmp_path / "o.h5").exists()) == (2, True, False)


def test_fill_mode_beside_a_pipeline_is_refused(cut: Path, tmp_path: Path, yaml: Path) -> None:
    yaml.write_text(FLIP)
    found = invoke("augment", cut, tmp_path / "o.h5", "--config", yaml, "--fill-mode", "reflect")
    assert (found.exit_code, "(fill_mode)" in found.stderr) == (2, True)


def test_identical_copies_are_counted(cut: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.h5"
    made = invoke("augment", cut, out, "--horizontal-flip", "--copies", 3, "--json")
    ps = patchcli.open(out)
    assert ps.origin is not None
    distinct = len(set(zip(ps.origin.tolist(), ps.digest.tolist(), strict=True)))
    assert json.loads(made.stdout)["repeated"] == len(ps) - distinct > 0
    assert json.loads(invoke("inspect", out, "--json").stdout)["repeated"] == len(ps) - distinct
    assert (
        f"{len(ps) - distinct:,} patches have the pixels of another copy"
        in invoke("augment", cut, out, "--horizontal-flip", "--copies", 3).stdout
    )
