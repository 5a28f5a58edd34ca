"""Packing and splitting as DVC runs them, on a set with planted copies, conflicts and broken files."""

import numpy as np
import pytest
from PIL import Image

from darkroom.data.archives import origin
from darkroom.data.split import decisions
from darkroom.foundations import files
from darkroom.packed import open_packed, read_index, read_rows, read_split
from stages import pack, split
from tests.pictures import class_folders, encode, pixels, write_zip
from tests.test_images import png as png_file

PARAMS = """\
seed: 0
datasets: {mine: {pack: {image_size: 32}, split: {validation: 0.15, test: 0.2}}}
"""


def picture(seed: int) -> np.ndarray:
    """Return something with shapes of several sizes, uint8 of shape (60, 80, 3)."""
    random = np.random.default_rng(seed)
    result = pixels(seed, 80, 60).copy()
    for _ in range(6):
        top, left, height, width = random.integers(0, 50, 4)
        result[top : top + 5 + height, left : left + 5 + width] = random.integers(0, 256, 3)
    return result


def changed(array: np.ndarray, way: int) -> bytes:
    """Return a near copy: of JPEG quality 60, half the size, or half as large again."""
    if way == 0:
        return encode(array, "JPEG", quality=60)
    image = Image.fromarray(array)
    factor = (0.5, 1.5)[way - 1]
    return encode(image.resize((int(image.width * factor), int(image.height * factor)), Image.Resampling.LANCZOS))


def broken_files() -> dict[str, bytes]:
    png, jpeg = encode(picture(1)), encode(picture(1), "JPEG")
    webp, gif = encode(picture(1), "WEBP"), encode(picture(1), "GIF")
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 255
    contents = {
        "empty.png": b"", "text.jpg": b"hello", "page.jpg": b"<html>404</html>", "paper.png": b"%PDF-1.7\n",
        "cut.png": png[:-200], "cut.jpg": jpeg[:200], "cut.webp": webp[: len(webp) // 2], "cut.gif": gif[:40],
        "flipped.png": bytes(flipped), "zeros.bmp": bytes(5000), "huge.png": png_file(60_000, 60_000, b"\0" * 100),
        "noise.tif": np.random.default_rng(0).bytes(5000),
    }  # fmt: skip
    return {f"{'cat' if number % 2 else 'dog'}/{name}": data for number, (name, data) in enumerate(contents.items())}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Return the folder of a packed and divided set, and which names were planted as what."""
    top = tmp_path_factory.mktemp("planted")
    arrays = [picture(seed) for seed in range(300)]
    names = [f"{'cat' if number % 2 else 'dog'}/{number:03}.png" for number in range(300)]
    members = {name: encode(array) for name, array in zip(names, arrays, strict=True)}
    plants = {kind: [] for kind in ("exact", "near", "conflict")}
    for number in range(90):
        own, other = names[number].split("/")[0], names[number + 1].split("/")[0]
        if number < 40:
            kind, name, data = "exact", f"{own}/e{number}.png", members[names[number]]
        elif number < 80:
            kind, name, data = "near", f"{own}/n{number}.png", changed(arrays[number], number % 3)
        else:
            data = changed(arrays[number], number % 3) if number % 2 else members[names[number]]
            kind, name = "conflict", f"{other}/c{number}.png"
        members[name] = data
        plants[kind].append((names[number], name))
    members |= broken_files()
    (top / "raw").mkdir()
    write_zip(top / "raw" / "set.zip", members)
    origin.write_origin(top / "raw", origin.Origin("Planted", "here", "CC0"))
    (top / "params.yaml").write_text(PARAMS)
    run(top)
    return top, plants


def run(top):
    common = ["--params", f"{top}/params.yaml", "--dataset", "mine"]
    pack.main([*common, "--raw", f"{top}/raw", "--out", f"{top}/packed"])
    outputs = ["--test-images", f"{top}/test_images.json", "--out", f"{top}/split.csv", "--copies", f"{top}/copies.csv"]
    split.main(
        [
            *common,
            "--packed",
            f"{top}/packed",
            *outputs,
            "--metrics",
            f"{top}/data.json",
            "--counts",
            f"{top}/images.json",
        ]
    )


def test_every_planted_copy_is_found_and_nothing_else(planted):
    top, plants = planted
    rows = read_rows(top / "copies.csv")
    clusters: dict[str, set[str]] = {}
    for row in rows:
        clusters.setdefault(row["cluster"], set()).add(row["name"])
    pairs = [pair for kind in plants.values() for pair in kind]
    assert sorted(map(sorted, clusters.values())) == sorted(map(sorted, pairs))
    kinds = {row["name"]: row["copy"] for row in rows}
    assert {kinds[name] for pair in plants["exact"] for name in pair} == {"exact"}
    assert {kinds[name] for pair in plants["near"] for name in pair} == {"near"}


def test_no_copy_is_on_two_sides(planted):
    top, plants = planted
    packed, division = open_packed(top / "packed"), read_split(top / "split.csv")
    sides = {record.name: side for record, side in zip(packed.records, division.splits.tolist(), strict=True)}
    for pair in plants["exact"] + plants["near"]:
        found = {sides[name] for name in pair}
        # Of copies in validation and test one is scored, the other is left out.
        assert found == {"train"} or (len(found) == 2 and len(found - {"left out", "train"}) == 1)
    for first, second in plants["conflict"]:
        assert sides[first] == sides[second] == "left out"
    rows = read_rows(top / "copies.csv")
    assert all(sides[row["name"]] == row["split"] for row in rows)
    assert sum(row["conflict"] == "1" for row in rows[:20]) == 20  # conflicts come first


def test_copies_are_one_group_and_other_images_each_their_own(planted):
    top, plants = planted
    packed, division = open_packed(top / "packed"), read_split(top / "split.csv")
    groups = dict(zip([record.name for record in packed.records], division.groups.tolist(), strict=True))
    pairs = [pair for kind in plants.values() for pair in kind]
    assert all(groups[first] == groups[second] for first, second in pairs)
    assert len(set(groups.values())) == len(groups) - len(pairs)


def test_every_broken_file_is_listed_with_its_reason(planted):
    top, _ = planted
    broken = read_rows(top / "packed" / "broken.csv")
    assert {row["name"] for row in broken} == set(broken_files())
    assert all(row["reason"] for row in broken)


def test_the_counts_are_those_planted(planted):
    top, _ = planted
    data = files.read_json(top / "data.json")
    expected = {"images": 390, "broken": 12, "copies": 45, "near_copies": 45, "conflicts": 20}
    assert {key: data[key] for key in expected} == expected
    assert data["train"] + data["validation"] + data["test"] + data["left_out"] == 390
    assert 20 < data["left_out"] < 20 + 80
    assert (data["leaks"], data["groups"]) == (0, 0)
    assert data["imbalance"] == pytest.approx(1, abs=0.1)


def test_equal_pictures_give_equal_bytes(planted):
    top, _ = planted
    before = {name: (top / name).read_bytes() for name in ("split.csv", "copies.csv", "data.json")}
    run(top)
    assert before == {name: (top / name).read_bytes() for name in before}


def test_the_test_split_of_the_source_stays_whole_and_leaks_are_told(tmp_path, capsys):
    members = {f"train/{name}": data for name, data in class_folders({"cat": 12, "dog": 12}, "JPEG").items()}
    arrays = [picture(seed) for seed in range(4)]
    members |= {f"test/{'cat' if number % 2 else 'dog'}/{number}.png": encode(a) for number, a in enumerate(arrays)}
    members["train/cat/copy.jpg"] = changed(arrays[1], 0)
    (tmp_path / "raw").mkdir()
    write_zip(tmp_path / "raw" / "set.zip", members)
    origin.write_origin(tmp_path / "raw", origin.Origin("Given", "here", "CC0"))
    (tmp_path / "params.yaml").write_text(PARAMS)
    run(tmp_path)
    names = [record.name for record in open_packed(tmp_path / "packed").records]
    division = read_split(tmp_path / "split.csv")
    assert len(division.rows("test")) == 4
    assert division.splits[names.index("train/cat/copy.jpg")] == "left out"
    assert [names[row] for row in np.flatnonzero(division.leaks)] == ["test/cat/1.png"]
    assert files.read_json(tmp_path / "data.json")["leaks"] == 1
    assert (
        "test images with a copy among the other images of the source, which is excluded: 1" in capsys.readouterr().out
    )


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """Return two packed folders: one of 60 pictures, and one of these, 60 others and a near copy of a test picture."""
    top = tmp_path_factory.mktemp("grown")
    members = {f"{'cat' if seed % 3 else 'dog'}/{seed:03}.png": encode(picture(seed)) for seed in range(120)}
    (top / "params.yaml").write_text(PARAMS)
    for folder, few in ((top / "before", dict(list(members.items())[:60])), (top / "after", members)):
        (folder / "raw").mkdir(parents=True)
        write_zip(folder / "raw" / "set.zip", few)
        origin.write_origin(folder / "raw", origin.Origin("Grown", "here", "CC0"))
        common = ["--params", f"{top}/params.yaml", "--dataset", "mine"]
        pack.main([*common, "--raw", f"{folder}/raw", "--out", f"{folder}/packed"])
        if folder.name == "before":
            tested = min(name for name, side in divided(top, folder / "packed").items() if side == "test")
            members[f"{tested[:3]}/+.png"] = changed(picture(int(tested[4:7])), 1)  # it comes first by name
    return top / "before" / "packed", top / "after" / "packed", (tested, f"{tested[:3]}/+.png")


def divided(top, folder):
    """Run the split stage with the files in `top` on a packed folder; return the split of each name."""
    options = {"params": "params.yaml", "test-images": "test.json", "out": "split.csv", "copies": "copies.csv"}
    arguments = [part for key, name in options.items() for part in (f"--{key}", f"{top}/{name}")]
    split.main(["--dataset", "mine", "--packed", str(folder), "--metrics", f"{top}/data.json", *arguments])
    rows = zip(open_packed(folder).records, read_split(top / "split.csv").splits, strict=True)
    return {record.name: str(side) for record, side in rows}


@pytest.mark.parametrize(
    ("change", "keeps", "told"),
    [
        ("", True, "The test images are unchanged"),
        ("validation: 0.15 → validation: 0.2", True, "The test images are unchanged"),
        ("test: 0.2 → test: 0.2, grow: all", False, ""),
        ("seed: 0 → seed: 1", False, "are for seed 0 instead of 1."),
        ("test: 0.2 → test: 0.3", False, "are for test 0.2 instead of 0.3."),
        ("size: 32 → size: 32, limit_per_class: 50", False, "are for limit_per_class null instead of 50."),
    ],
)
def test_images_added_later_are_no_test_images(grown, tmp_path, capsys, change, keeps, told):
    (tmp_path / "params.yaml").write_text(PARAMS)
    first, second, copies = grown
    before = divided(tmp_path, first)
    assert "The test images" not in capsys.readouterr().out
    if change:
        (tmp_path / "params.yaml").write_text(PARAMS.replace(*change.split(" → ")))
    after = divided(tmp_path, second)
    sides = [{name for name, side in names.items() if side == "test"} for names in (before, after)]
    assert (sides[0] == sides[1]) == keeps
    assert {after[name] for name in copies} in ({"test", "left out"}, {"train"}, {"validation", "left out"})
    assert told in capsys.readouterr().out
    written = {name: (tmp_path / name).read_bytes() for name in ("split.csv", "test.json")}
    divided(tmp_path, second)
    assert written == {name: (tmp_path / name).read_bytes() for name in written}


def test_scenes_are_listed_and_kept_together(tmp_path):
    """A mirror image of each of 30 images, in class folders, with recorded test images from a run without scenes."""
    members = {}
    for number in range(60):
        array, label = picture(number), "cat" if number % 2 else "dog"
        members[f"{label}/{chr(97 + number // 5)}{number * 7}.png"] = encode(array)
        if number < 30:
            members[f"{label}/{chr(97 + number // 5)}{number * 7}m.png"] = encode(array[:, ::-1].copy())
    (tmp_path / "raw").mkdir()
    write_zip(tmp_path / "raw" / "set.zip", members)
    origin.write_origin(tmp_path / "raw", origin.Origin("Mirrored", "here", "CC0"))
    (tmp_path / "params.yaml").write_text(PARAMS)
    arguments = ["--params", f"{tmp_path}/params.yaml", "--dataset", "mine"]
    pack.main([*arguments, "--raw", f"{tmp_path}/raw", "--out", f"{tmp_path}/packed"])
    options = {"packed": "packed", "test-images": "test.json", "out": "split.csv", "copies": "copies.csv"}
    options |= {"scenes": "scenes.csv", "metrics": "data.json"}
    arguments += [word for name, file in options.items() for word in (f"--{name}", f"{tmp_path}/{file}")]

    def again(scenes):
        (tmp_path / "params.yaml").write_text(PARAMS.replace("test: 0.2", f"test: 0.2, scenes: {scenes}"))
        split.main(arguments)
        data = files.read_json(tmp_path / "data.json")
        return read_rows(tmp_path / "scenes.csv"), read_split(tmp_path / "split.csv"), data

    rows, plain, data = again("false")
    assert (rows, data["scenes"], data["scene_leaks"], plain.leaks.any()) == ([], 0, 0, False)
    rows, kept, data = again("true")
    assert (kept.splits == "test").tolist() == (plain.splits == "test").tolist()
    assert data["scenes"] == len(rows) == 60
    assert data["scene_leaks"] == kept.leaks.sum() == sum(row["leak"] == "1" for row in rows) > 0
    leaking = {row["scene"] for row in rows if row["leak"] == "1"}
    assert {row["scene"] for row in rows[: 2 * len(leaking)]} == leaking
    (tmp_path / "test.json").unlink()
    rows, fresh, data = again("true")
    assert data["scene_leaks"] == fresh.leaks.sum() == 0
    assert all(len({row["split"] for row in rows[first : first + 2]}) == 1 for first in range(0, 60, 2))
    assert len(set(fresh.groups)) == 60
    images = {record.name: record for record in read_index(tmp_path / "packed")}
    name, label = rows[0]["name"], rows[0]["label"]
    alone = decisions.Decision(images[name].sha256, name, label, label, decisions.NOT_ONE_SCENE, "Ada")
    decisions.write(tmp_path / "labels.csv", [alone])
    arguments += ["--labels", f"{tmp_path}/labels.csv"]
    rows, apart, data = again("true")
    assert name not in {row["name"] for row in rows}
    assert data["scenes"] == len(rows) == 58
    assert len(set(apart.groups)) == 61
