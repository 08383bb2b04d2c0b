"""Readers of annotated datasets: what they take from a good copy, and how they name what is wrong with a bad one."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from fer_edge.errors import DataError
from fer_edge.frames import Box
from fer_edge.tasks import FER_PLUS

from boards import lab as command
from train.data import annotated, cache
from train.data.annotated import ACTION_UNITS
from train.data.fer2013 import EXPRESSIONS
from train.data.readers import afew_va, aff_wild, affectnet, bp4d, cat2000, ck_plus, disfa
from train.data.readers.pictures import in_order
from train.fit import loop
from train.fit.recipe import Recipe, Schedule

POINTS = [[20 + 40 * (i % 8) / 7, 15 + 45 * (i // 8) / 8] for i in range(68)]


def picture(path: Path, shade: int = 100, side: int = 80) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((side, side), shade, np.uint8)
    image[side // 4 : side // 2, side // 4 : side // 2] = 255 - shade
    cv2.imwrite(str(path), image)
    return path


def whole(image: np.ndarray) -> Box:
    """Stands in for the face detector: drawn squares are no faces to it."""
    return Box(0, 0, image.shape[1], image.shape[0])


def write_affectnet(root: Path) -> Path:
    columns = ["subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks"]
    for name, codes in (("training", (1, 7, 8)), ("validation", (6,))):
        with open(root / f"{name}.csv", "w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow([*columns, "expression", "valence", "arousal"])
            for code in codes:
                file = picture(root / f"{name}{code}.jpg").name
                affect = (-2, -2) if code == 8 else (0.5, -0.25)
                writer.writerow([file, 10, 10, 40, 40, "", code, *affect])
    return root


def write_affectnet_folders(root: Path) -> Path:
    for name in ("train_set", "val_set"):
        picture(root / name / "images" / "7.jpg")
        notes = root / name / "annotations"
        notes.mkdir()
        for word, value in (("exp", "3"), ("val", "0.1"), ("aro", "0.9")):
            np.save(notes / f"7_{word}.npy", np.array(value))
    return root


def write_afew_va(root: Path) -> Path:
    for clip, actor in (("001", "anna"), ("002", "bert")):
        frames = {}
        for number in range(2):
            picture(root / clip / f"{number:05d}.png")
            frames[f"{number:05d}"] = {"landmarks": POINTS, "valence": -5.0, "arousal": 10.0}
        (root / clip / f"{clip}.json").write_text(json.dumps({"video_id": clip, "actor": actor, "frames": frames}))
    return root


def write_aff_wild(root: Path) -> Path:
    for split, video in (("Train_Set", "one"), ("Validation_Set", "two")):
        (root / "annotations" / split).mkdir(parents=True)
        lines = ["0.5,-0.5"] * 10 + ["-5,-5"] * 10 + ["0.1,0.2"]
        (root / "annotations" / split / f"{video}.txt").write_text("\n".join(["valence,arousal", *lines]) + "\n")
        for frame in (1, 11, 21):
            picture(root / "cropped_aligned" / video / f"{frame:05d}.jpg")
    return root


def write_cat2000(root: Path) -> Path:
    for number in range(1, 6):
        place = Path("Action") / f"{number:03d}.jpg"
        picture(root / "trainSet" / "Stimuli" / place)
        density = np.zeros((80, 80), np.uint8)
        density[10:20, 60:70] = 250
        path = root / "trainSet" / "FIXATIONMAPS" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), density)
        fixations = np.zeros((80, 80), np.uint8)
        fixations[15, 65] = 1
        locations = root / "trainSet" / "FIXATIONLOCS" / place.with_suffix(".mat")
        locations.parent.mkdir(parents=True, exist_ok=True)
        savemat(str(locations), {"fixLocs": fixations})
    return root


def write_ck_plus(root: Path) -> Path:
    for person, emotion in (("S005", "5"), ("S010", "2"), ("S011", "")):
        place = Path(person) / "001"
        for number in (1, 2, 3):
            name = f"{person}_001_{number:08d}"
            picture(root / "cohn-kanade-images" / place / f"{name}.png")
            text = "\n".join(f"   {x:e}   {y:e}" for x, y in POINTS)
            write(root / "Landmarks" / place / f"{name}_landmarks.txt", text)
        write(root / "FACS" / place / f"{name}_facs.txt", "   6.0e+00   3.0e+00\n   1.2e+01   0.0e+00\n")
        if emotion:
            write(root / "Emotion" / place / f"{name}_emotion.txt", f"   {emotion}.0000000e+00\n")
    return root


def write_disfa(root: Path) -> Path:
    for person in ("SN001", "SN002"):
        for unit in disfa.UNITS:
            level = {6: 2, 12: 4, 4: 1}.get(unit, 0)
            lines = "".join(f"{frame},{level}\n" for frame in range(1, 12))
            write(root / "ActionUnit_Labels" / person / f"{person}_au{unit}.txt", lines)
        for frame in range(1, 12):
            picture(root / "Images" / person / f"{frame:05d}.png")
    return root


def write_bp4d(root: Path) -> Path:
    for person in ("F001", "M002"):
        rows = "".join(f"{frame},1,0,9\n" for frame in range(1, 12))
        write(root / "AUCoding" / "AU_OCC" / f"{person}_T1.csv", "0,6,12,28\n" + rows)
        levels = "".join(f"{frame},{5 if frame == 1 else 9}\n" for frame in range(1, 12))
        write(root / "AUCoding" / "AU_INT" / "AU12" / f"{person}_T1_AU12.csv", levels)
        for frame in (1, 11):
            picture(root / "2D" / person / "T1" / f"{frame:04d}.jpg")
    return root


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_affectnet_by_tables(tmp_path: Path) -> None:
    data = affectnet.read(write_affectnet(tmp_path))
    assert data.images.shape == (4, 48, 48)
    assert data.usage.tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(data.truth("valence-arousal")[[0, 2]], [[0.5, -0.25], [np.nan, np.nan]])
    named = [EXPRESSIONS[i] if i >= 0 else "" for i in data.truth("expression7")]
    assert named == ["happy", "", "", "angry"]
    assert [FER_PLUS[i] if i >= 0 else "" for i in data.truth("expression8")] == ["happiness", "contempt", "", "anger"]


def test_affectnet_by_folders(tmp_path: Path) -> None:
    data = affectnet.read(write_affectnet_folders(tmp_path))
    assert data.usage.tolist() == [0, 1]
    np.testing.assert_allclose(data.truth("valence-arousal"), [[0.1, 0.9]] * 2, rtol=1e-6)
    assert [EXPRESSIONS[i] for i in data.truth("expression7")] == ["surprise"] * 2


def test_afew_va_keeps_actors_apart(tmp_path: Path) -> None:
    data = afew_va.read(write_afew_va(tmp_path))
    np.testing.assert_allclose(data.truth("valence-arousal"), [[-0.5, 1.0]] * 4)
    assert data.usage.tolist() == [0, 0, 1, 1]
    assert data.subjects.tolist() == [0, 0, 1, 1]


def test_aff_wild_leaves_out_what_nobody_rated(tmp_path: Path) -> None:
    data = aff_wild.read(write_aff_wild(tmp_path))
    np.testing.assert_allclose(data.truth("valence-arousal"), [[0.5, -0.5], [0.1, 0.2]] * 2, rtol=1e-6)
    assert data.usage.tolist() == [0, 0, 1, 1]


def test_cat2000_puts_gaze_where_it_was(tmp_path: Path) -> None:
    data = cat2000.read(write_cat2000(tmp_path))
    density, fixations = data.truth("saliency").transpose(1, 0, 2, 3)
    np.testing.assert_allclose(density.sum((1, 2)), 1, rtol=1e-5)
    assert (density[:, 2:7, 17:22].sum((1, 2)) > 0.9).all()
    assert np.argwhere(fixations[0]).tolist() == [[15 * 24 // 80, 65 * 24 // 80]]
    assert data.usage.tolist() == [0, 0, 0, 0, 1]


def test_ck_plus_gives_the_neutral_face_and_the_peak(tmp_path: Path) -> None:
    data = ck_plus.read(write_ck_plus(tmp_path))
    assert [FER_PLUS[i] if i >= 0 else "" for i in data.truth("expression8")] == [
        *("neutral", "happiness", "neutral", "contempt", "neutral", "")
    ]
    assert [EXPRESSIONS[i] if i >= 0 else "" for i in data.truth("expression7")[[1, 3]]] == ["happy", ""]
    neutral, peak = data.truth("action-units")[:2]
    assert neutral.sum() == 0
    assert [unit for unit, there in zip(ACTION_UNITS, peak, strict=True) if there] == ["AU6", "AU12"]
    assert data.subjects.tolist() == [5, 5, 10, 10, 11, 11]


def test_pictures_are_in_the_order_of_their_numbers() -> None:
    names = ["10.jpg", "1.jpg", "2.jpg"]
    assert [path.name for path in in_order(map(Path, names))] == ["1.jpg", "2.jpg", "10.jpg"]


def test_disfa_counts_a_unit_from_intensity_two(tmp_path: Path) -> None:
    data = disfa.read(write_disfa(tmp_path), whole)
    assert len(data.images) == 4
    row = dict(zip(ACTION_UNITS, data.truth("action-units")[0].tolist(), strict=True))
    assert (row["AU6"], row["AU12"], row["AU4"]) == (1, 1, 0)
    assert np.isnan(row["AU23"])
    np.testing.assert_allclose(data.truth("smile-intensity"), 0.8)


def test_disfa_reads_its_videos_too(tmp_path: Path) -> None:
    write_disfa(tmp_path)
    for person in ("SN001", "SN002"):
        for path in (tmp_path / "Images" / person).iterdir():
            path.unlink()
        (tmp_path / "Images" / person).rmdir()
        video = tmp_path / "Videos_LeftCamera" / f"LeftVideo{person}_comp.avi"
        video.parent.mkdir(exist_ok=True)
        writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 64))
        for _ in range(11):
            writer.write(np.full((64, 64, 3), 90, np.uint8))
        writer.release()
    assert len(disfa.read(tmp_path, whole).images) == 4


def test_bp4d_knows_what_was_not_coded(tmp_path: Path) -> None:
    data = bp4d.read(write_bp4d(tmp_path), whole)
    row = dict(zip(ACTION_UNITS, data.truth("action-units")[0].tolist(), strict=True))
    assert (row["AU6"], row["AU12"]) == (1, 0)
    assert np.isnan(row["AU4"])
    np.testing.assert_allclose(data.truth("smile-intensity")[:, 0], [1, np.nan, 1, np.nan])


def test_a_frame_without_a_face_is_left_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no face was found in any coded frame"):
        bp4d.read(write_bp4d(tmp_path), lambda image: None)


def replace_in(path: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new, 1))

    return change


def remove(path: str) -> Callable[[Path], None]:
    return lambda root: (root / path).unlink()


def empty(path: str) -> Callable[[Path], None]:
    return lambda root: (root / path).write_bytes(b"")


def not_text(path: str) -> Callable[[Path], None]:
    return lambda root: (root / path).write_bytes(b"\xff\xfe\x00")


def spoil(path: str) -> Callable[[Path], None]:
    return lambda root: (root / path).write_bytes(b"spoiled")


def nested(path: str) -> Callable[[Path], None]:
    """JSON so deep that its reader gives up."""
    return lambda root: (root / path).write_text("[" * 100_000)


def only_the_peak(root: Path) -> None:
    for number in (1, 2):
        (root / "cohn-kanade-images" / f"S005/001/S005_001_{number:08d}.png").unlink()


def one_picture_more(root: Path) -> None:
    picture(root / "Images/SN001/00012.png")


CK = "S005/001/S005_001_00000003"


@pytest.mark.parametrize(
    ("writer", "reader", "damage", "message"),
    [
        (write_affectnet, affectnet.read, replace_in("training.csv", "valence", "joy"), "missing valence"),
        (write_affectnet, affectnet.read, replace_in("training.csv", ",1,0.5", ",11,0.5"), "row 2: expression: 11"),
        (write_affectnet, affectnet.read, replace_in("training.csv", "0.5", "1.5"), "row 2: valence: 1.5, expected -2"),
        (write_affectnet, affectnet.read, replace_in("training.csv", "0.5", "-1.5"), "valence -1.5.*expected -1 to 1"),
        (
            write_affectnet,
            affectnet.read,
            replace_in("training.csv", ",1,0.5", ",1.7,0.5"),
            "1.7, expected a whole number",
        ),
        (write_affectnet, affectnet.read, not_text("training.csv"), "training.csv: not a readable text file"),
        (
            write_affectnet,
            affectnet.read,
            replace_in("training.csv", ",40,40,", ",0,40,"),
            "0x40 at 10, 10 has no part",
        ),
        (
            write_affectnet,
            affectnet.read,
            replace_in("training.csv", ",10,10,", ",80,10,"),
            "no part of the picture of",
        ),
        (write_affectnet, affectnet.read, replace_in("training.csv", "training1.jpg,", ","), "row 2: names no picture"),
        (write_afew_va, afew_va.read, nested("001/001.json"), "001.json: not an annotation"),
        (write_aff_wild, aff_wild.read, replace_in("annotations/Train_Set/one.txt", "0.5,-0.5", ""), "line 2"),
        (write_affectnet_folders, affectnet.read, empty("val_set/annotations/7_val.npy"), "7_val.npy: no annotation"),
        (write_aff_wild, aff_wild.read, not_text("annotations/Train_Set/one.txt"), "one.txt: not a readable text file"),
        (write_ck_plus, ck_plus.read, not_text(f"FACS/{CK}_facs.txt"), "facs.txt: not a readable text file"),
        (write_disfa, disfa.read, not_text("ActionUnit_Labels/SN002/SN002_au9.txt"), "not a readable text file"),
        (write_bp4d, bp4d.read, not_text("AUCoding/AU_OCC/F001_T1.csv"), "not a readable text file"),
        (write_affectnet, affectnet.read, replace_in("training.csv", ",10,", ",x,"), "'x' is not a number"),
        (write_affectnet, affectnet.read, remove("training1.jpg"), "training1.jpg: not found"),
        (write_affectnet, affectnet.read, spoil("training1.jpg"), "not an image that can be decoded"),
        (write_affectnet_folders, affectnet.read, remove("val_set/annotations/7_val.npy"), "7_val.npy: no annotation"),
        (write_afew_va, afew_va.read, spoil("001/001.json"), "001.json: not an annotation"),
        (write_afew_va, afew_va.read, replace_in("001/001.json", "-5.0", "-11"), "valence: -11, expected -10 to 10"),
        (write_afew_va, afew_va.read, replace_in("001/001.json", "[20.0, 15.0], ", ""), "expected 68 points"),
        (write_afew_va, afew_va.read, replace_in("001/001.json", "landmarks", "points"), "no landmarks"),
        (write_afew_va, afew_va.read, remove("002/00001.png"), "00001.png: not found"),
        (write_aff_wild, aff_wild.read, replace_in("annotations/Train_Set/one.txt", "valence,", "v,"), "the heading"),
        (write_aff_wild, aff_wild.read, replace_in("annotations/Train_Set/one.txt", "0.5,", "-2,"), "line 2.*-1 to 1"),
        (write_aff_wild, aff_wild.read, replace_in("annotations/Train_Set/one.txt", ",-0.5", ""), "line 2"),
        (write_cat2000, cat2000.read, remove("trainSet/FIXATIONLOCS/Action/002.mat"), "002.mat: no fixations"),
        (write_cat2000, cat2000.read, spoil("trainSet/FIXATIONLOCS/Action/002.mat"), "002.mat: no fixations"),
        (write_cat2000, cat2000.read, remove("trainSet/FIXATIONMAPS/Action/002.jpg"), "002.jpg: not found"),
        (write_ck_plus, ck_plus.read, remove(f"FACS/{CK}_facs.txt"), "facs.txt: not found"),
        (write_ck_plus, ck_plus.read, replace_in(f"FACS/{CK}_facs.txt", "3.0e+00", "9"), "intensity: 9"),
        (write_ck_plus, ck_plus.read, replace_in(f"FACS/{CK}_facs.txt", "1.2e+01", "nan"), "unit: nan"),
        (write_ck_plus, ck_plus.read, only_the_peak, "one picture; expected a neutral face first"),
        (write_disfa, disfa.read, one_picture_more, "12 pictures for 11"),
        (write_ck_plus, ck_plus.read, replace_in(f"FACS/{CK}_facs.txt", "3.0e+00", ""), "expected two numbers a line"),
        (write_ck_plus, ck_plus.read, replace_in(f"Emotion/{CK}_emotion.txt", "5.", "8."), "8, expected 0 to 7"),
        (write_ck_plus, ck_plus.read, remove(f"Landmarks/{CK}_landmarks.txt"), "landmarks.txt: not found"),
        (write_disfa, disfa.read, remove("ActionUnit_Labels/SN002/SN002_au9.txt"), "au9.txt: not found"),
        (write_disfa, disfa.read, replace_in("ActionUnit_Labels/SN002/SN002_au9.txt", "3,0", "4,0"), "where 3 is due"),
        (write_disfa, disfa.read, replace_in("ActionUnit_Labels/SN002/SN002_au9.txt", "3,0", "3,6"), "6, expected 0"),
        (write_disfa, disfa.read, replace_in("ActionUnit_Labels/SN002/SN002_au9.txt", "11,0\n", ""), "10 to 11 frames"),
        (write_disfa, disfa.read, remove("Images/SN001/00011.png"), "10 pictures for 11"),
        (
            write_bp4d,
            bp4d.read,
            replace_in("AUCoding/AU_OCC/F001_T1.csv", "0,6,12,28", "a,b,c,d"),
            "expected the numbers",
        ),
        (write_bp4d, bp4d.read, replace_in("AUCoding/AU_OCC/F001_T1.csv", "2,1,0,9", "2,1"), "row 3: 2 columns"),
        (write_bp4d, bp4d.read, replace_in("AUCoding/AU_OCC/F001_T1.csv", "2,1,0,9", "2,5,0,9"), "AU6 is 5"),
        (write_bp4d, bp4d.read, replace_in("AUCoding/AU_INT/AU12/F001_T1_AU12.csv", "1,5", "1,7"), "intensity 7"),
        (write_bp4d, bp4d.read, remove("2D/F001/T1/0001.jpg"), "0001.jpg: not found"),
    ],
)
def test_what_does_not_fit_is_named(
    writer: Callable[[Path], Path],
    reader: Callable[..., annotated.AnnotatedFaces],
    damage: Callable[[Path], None],
    message: str,
    tmp_path: Path,
) -> None:
    root = writer(tmp_path)
    damage(root)
    finder = [whole] if reader in (disfa.read, bp4d.read) else []
    with pytest.raises(DataError, match=message):
        reader(root, *finder)


@pytest.mark.parametrize("reader", [affectnet, afew_va, aff_wild, cat2000, ck_plus, disfa, bp4d])
def test_a_folder_that_is_no_dataset_is_refused(reader: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"[Ee]xpected|not found"):
        reader.read(tmp_path)


def test_the_command_caches_what_training_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "affectnet").mkdir()
    root = write_affectnet(tmp_path / "affectnet")
    assert command.main(["annotations", "affectnet", str(root), "--out", str(tmp_path / "a.npz")]) == 0
    data, read = cache.load_any(tmp_path / "a.npz"), affectnet.read(root)
    assert data.dataset == "AffectNet"
    np.testing.assert_array_equal(data.images, read.images)
    np.testing.assert_array_equal(data.truth("valence-arousal"), read.truth("valence-arousal"))
    assert command.main(["annotations", "imagenet", str(root), "--out", str(tmp_path / "b.npz")]) == 2
    with pytest.raises(DataError, match="holds AffectNet, expected FER2013"):
        cache.load(tmp_path / "a.npz")
    with pytest.raises(DataError, match="AffectNet has no annotation for action-units"):
        data.truth("action-units")


@pytest.mark.parametrize(
    ("task", "arguments", "writer", "reader"),
    [
        ("action-units", {"classes": 17}, write_ck_plus, ck_plus.read),
        ("saliency", {"output": "saliency"}, write_cat2000, cat2000.read),
    ],
)
def test_an_annotated_dataset_trains_as_fer2013_does(
    task: str, arguments: dict[str, object], writer: Callable, reader: Callable, tmp_path: Path
) -> None:
    small = {"stem": 4, "widths": [4], "saliency_channels": 4, **arguments}
    schedule = Schedule(epochs=2, batch=4, learning_rate=0.01, warmup_epochs=0.5, ema_decay=0.5)
    recipe = Recipe("small", "saliency_cnn", small, task=task, schedule=schedule)
    (tmp_path / "data").mkdir()
    trainer = loop.fit(recipe, reader(writer(tmp_path / "data")), tmp_path / "run")
    assert np.isfinite(trainer.logs[-1].score)
    assert next(iter(trainer.logs[0].figures)) == {"action-units": "f1", "saliency": "cc"}[task]
