"""Readers for FER2013 and FER+ in the forms people have them.

FER2013 (Goodfellow et al., 2013) arrives as `fer2013.csv` (columns emotion,pixels,Usage), as `icml_face_data.csv`
(the same columns in another order, with stray blanks in the header), as either of them zipped, or as folders of
images, one a class. FER+ (Barsoum et al., 2016) arrives as `fer2013new.csv`, row for row beside `fer2013.csv`.
"""

import csv
import io
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fer_edge.errors import DataError, SourceError
from fer_edge.files import open_regular
from fer_edge.picture_file import read_image
from fer_edge.tables import shown
from fer_edge.truth import truth_of

from train.data import align

EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SPLITS = ("Training", "PublicTest", "PrivateTest")
OFFICIAL_COUNTS = {"Training": 28_709, "PublicTest": 3_589, "PrivateTest": 3_589}
VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
# FER+ column of each FER2013 class, in the order of EXPRESSIONS.
_VOTE_OF_CLASS = [VOTES.index(v) for v in ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")]
_NOT_A_FACE_VOTES = 8
_VOTERS = 10
SIDE_PX = 48

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Fer2013:
    """FER2013 in memory, in file order.

    images: (n, 48, 48) uint8 grey; emotions: (n,) int64 indices into EXPRESSIONS;
    usage: (n,) int64 indices into SPLITS; votes: (n, 10) int64 FER+ votes in the order of VOTES, or None. A face
    without votes has a row of zeros.
    """

    images: NDArray[np.uint8]
    emotions: NDArray[np.int64]
    usage: NDArray[np.int64]
    votes: NDArray[np.int64] | None = None
    dataset: str = "FER2013"

    def truth(self, task: str) -> NDArray[np.int64] | NDArray[np.float32]:
        """Ground truth of each face for `task`; see `fer_edge.truth.truth_of`. Raises DataError."""
        return truth_of(task, self.emotions, EXPRESSIONS, self.votes)

    def rows(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Fer2013":
        """Some of the faces, by a mask (n,) or by their numbers."""
        votes = None if self.votes is None else self.votes[chosen]
        return Fer2013(self.images[chosen], self.emotions[chosen], self.usage[chosen], votes, self.dataset)

    def class_votes(self) -> NDArray[np.int64] | None:
        """The votes for the seven classes of FER2013, (n, 7) in the order of EXPRESSIONS."""
        return None if self.votes is None else self.votes[:, _VOTE_OF_CLASS]


def read_fer2013(
    path: Path, ferplus: Path | None = None, *, expected_counts: dict[str, int] | None = OFFICIAL_COUNTS
) -> Fer2013:
    """Read FER2013 from a CSV file, a zip of one, or an image folder, with FER+ votes where given.

    `expected_counts` is checked split by split; None accepts any (for a subset). Raises DataError naming file and row.
    """
    if not path.exists():
        raise DataError(
            f"FER2013 not found: {path}. Expected fer2013.csv, icml_face_data.csv, a zip of either or an image folder."
        )
    if path.is_dir():
        if ferplus is not None:
            raise DataError(
                f"{ferplus}: FER+ votes follow the rows of fer2013.csv, but {path} is an image folder. Give the CSV."
            )
        data = _read_folder(path)
    else:
        data = _read_csv(path)
    _check_counts(path, data.usage, expected_counts)
    if ferplus is None:
        return data
    votes = _beside_their_faces(ferplus, read_ferplus(ferplus, data.usage), data.emotions)
    return Fer2013(data.images, data.emotions, data.usage, votes)


def read_ferplus(path: Path, usage: NDArray[np.int64]) -> NDArray[np.int64]:
    """FER+ votes, shape (n, 10), checked row by row against FER2013's `usage` (n,). Raises DataError."""
    if not path.is_file():
        raise DataError(f"FER+ votes not found: {path}. Expected fer2013new.csv.")
    votes: list[list[int]] = []
    with _open_csv(path) as stream:
        reader = csv.DictReader(stream)
        missing = {"Usage", *VOTES} - set(reader.fieldnames or ())
        if missing:
            raise DataError(f"{path}: expected the columns of fer2013new.csv, missing {', '.join(sorted(missing))}.")
        for row_number, row in enumerate(reader, start=2):
            if len(votes) < len(usage) and row["Usage"] != SPLITS[usage[len(votes)]]:
                raise DataError(
                    f"{path}, row {row_number}: Usage is {row['Usage']!r} where FER2013 has "
                    f"{SPLITS[usage[len(votes)]]!r}; the two files must be in the same order."
                )
            votes.append(_counted_votes(row, f"{path}, row {row_number}"))
    if len(votes) != len(usage):
        raise DataError(f"{path}: {len(votes)} rows of votes for {len(usage)} faces of FER2013.")
    return np.asarray(votes, dtype=np.int64)


def _counted_votes(row: dict[str, str], where: str) -> list[int]:
    """Ten counts; ten people voted on a face. Raises DataError."""
    try:
        counts = [int(row[name]) for name in VOTES]
    except (TypeError, ValueError):
        counts = [-1]
    if min(counts) < 0 or max(counts) > _VOTERS:
        found = ", ".join(shown(row[name]) for name in VOTES)
        raise DataError(f"{where}: expected ten whole vote counts of 0 to {_VOTERS}, found {found}.")
    return counts


def _beside_their_faces(path: Path, votes: NDArray[np.int64], emotions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Check that votes and labels speak of the same faces; re-align them where this copy's rows have moved."""
    before = align.agreement(emotions, votes[:, _VOTE_OF_CLASS])
    if before >= align.ALIGNED_AGREEMENT:
        return votes
    rows = align.align(emotions, votes[:, _VOTE_OF_CLASS], votes[:, VOTES.index("NF")] >= _NOT_A_FACE_VOTES)
    aligned = np.where((rows >= 0)[:, None], votes[rows], 0)
    after = align.agreement(emotions, aligned[:, _VOTE_OF_CLASS])
    if after < align.ALIGNED_AGREEMENT:
        raise DataError(
            f"{path}: the FER+ majority agrees with FER2013's label on {before:.0%} of the faces ({after:.0%} after "
            f"aligning), expected {align.ALIGNED_AGREEMENT:.0%} or more. The two files are not of the same faces."
        )
    print(
        f"{path.name}: rows have moved against FER2013 (labels agree on {before:.0%}); aligned by label, "
        f"{after:.0%} agree, {int((rows >= 0).sum())} of {len(rows)} faces have votes"
    )
    return aligned


@contextmanager
def _open_csv(path: Path) -> Iterator[TextIO]:
    """Open a CSV file, or the one CSV inside a zip."""
    try:
        if path.suffix.lower() != ".zip":
            with open_regular(path, DataError) as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as stream:
                yield stream
            return
        with open_regular(path, DataError) as file, zipfile.ZipFile(file) as archive:
            members = [name for name in archive.namelist() if name.lower().endswith(".csv") and "__MACOSX" not in name]
            # The Kaggle archive holds example submissions too; the faces are by far the largest table.
            members.sort(key=lambda name: archive.getinfo(name).file_size, reverse=True)
            if not members:
                raise DataError(f"{path}: no .csv file inside; expected a zip of fer2013.csv or icml_face_data.csv.")
            with archive.open(members[0]) as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as stream:
                yield stream
    except UnicodeDecodeError as error:
        # The decoder sees a few kilobytes at a time, so it cannot tell where in the file it is.
        byte = f"byte 0x{error.object[error.start]:02X} is not UTF-8"
        raise DataError(
            f"{path}{_row_that_is_not_utf8(path)}: not a CSV file ({byte}). Expected fer2013.csv or a zip of it; "
            "unpack .tar.gz first."
        ) from None
    except csv.Error as error:
        raise DataError(
            f"{path}: not a CSV file ({error}). Expected fer2013.csv or a zip of it; unpack .tar.gz first."
        ) from None
    except zipfile.BadZipFile as error:
        raise DataError(f"{path}: not a readable zip ({error}). Download it again.") from None


def _row_that_is_not_utf8(path: Path) -> str:
    """Where it is, as part of a message; nothing for a zip."""
    with open_regular(path, DataError) as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return "" if path.suffix.lower() == ".zip" else f", row {number}"
    return ""


def _read_csv(path: Path) -> Fer2013:
    images: list[NDArray[np.uint8]] = []
    emotions: list[int] = []
    usage: list[int] = []
    with _open_csv(path) as stream:
        reader = csv.DictReader(stream)
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        missing = {"emotion", "pixels", "Usage"} - set(reader.fieldnames)
        if missing:
            raise DataError(f"{path}: expected columns emotion, pixels, Usage; missing {', '.join(sorted(missing))}.")
        for row_number, row in enumerate(tqdm(reader, desc=f"reading {path.name}", unit=" faces"), start=2):
            where = f"{path}, row {row_number}"
            emotions.append(_parse_emotion(row["emotion"], where))
            usage.append(_parse_split((row["Usage"] or "").strip(), where))
            images.append(_parse_pixels(row["pixels"], where))
    if not images:
        raise DataError(f"{path}: no faces, only a header. Expected {sum(OFFICIAL_COUNTS.values())} rows.")
    return Fer2013(np.stack(images), np.asarray(emotions), np.asarray(usage))


def _parse_emotion(text: str | None, where: str) -> int:
    numbers = [str(number) for number in range(len(EXPRESSIONS))]
    if text is None or text.strip() not in numbers:
        raise DataError(f"{where}: emotion is {shown(text)}, expected 0 to {len(EXPRESSIONS) - 1}.")
    return int(text)


def _parse_split(text: str, where: str) -> int:
    if text not in SPLITS:
        raise DataError(f"{where}: Usage is {shown(text)}, expected one of {', '.join(SPLITS)}. Is the row cut off?")
    return SPLITS.index(text)


def _parse_pixels(text: str | None, where: str) -> NDArray[np.uint8]:
    try:
        values = np.array((text or "").split(), dtype=np.int64)
    except (ValueError, OverflowError):
        raise DataError(f"{where}: a pixel is not a whole number.") from None
    if values.size != SIDE_PX * SIDE_PX:
        raise DataError(f"{where}: {values.size} pixels, expected {SIDE_PX * SIDE_PX}. Is the row cut off?")
    if values.min() < 0 or values.max() > 255:
        raise DataError(f"{where}: pixels from {values.min()} to {values.max()}, expected 0 to 255.")
    return values.astype(np.uint8).reshape(SIDE_PX, SIDE_PX)


def _read_folder(root: Path) -> Fer2013:
    """Read `<anything>/<class>/<Split>_<number>.jpg`, or `<Split>/<class>/<any name>`."""
    paths = sorted(p for p in root.rglob("*") if p.suffix.lower() in _IMAGE_SUFFIXES)
    if not paths:
        raise DataError(f"{root}: no images. Expected folders such as train/happy/Training_123.jpg.")
    images, emotions, usage = [], [], []
    for path in tqdm(paths, desc=f"reading {root.name}", unit=" faces"):
        if path.parent.name.lower() not in EXPRESSIONS:
            raise DataError(f"{path}: folder {path.parent.name!r} is not a class; expected {', '.join(EXPRESSIONS)}.")
        try:
            image = read_image(path, grey=True)
        except SourceError as error:
            raise DataError(f"{error} Expected {SIDE_PX}x{SIDE_PX} grey.") from None
        if image.shape != (SIDE_PX, SIDE_PX):
            raise DataError(f"{path}: {image.shape[1]}x{image.shape[0]}, expected {SIDE_PX}x{SIDE_PX} grey.")
        images.append(image)
        emotions.append(EXPRESSIONS.index(path.parent.name.lower()))
        usage.append(_split_of_image(path))
    return Fer2013(np.stack(images).astype(np.uint8), np.asarray(emotions), np.asarray(usage))


def _split_of_image(path: Path) -> int:
    for candidate in (path.name.split("_")[0], path.parent.parent.name):
        if candidate in SPLITS:
            return SPLITS.index(candidate)
    if path.parent.parent.name == "train":
        return SPLITS.index("Training")
    raise DataError(
        f"{path}: cannot tell PublicTest from PrivateTest; expected a name such as PublicTest_123.jpg. "
        "An archive that mixed the two test splits cannot be used to select a model honestly."
    )


def _check_counts(path: Path, usage: NDArray[np.int64], expected: dict[str, int] | None) -> None:
    found = Counter(SPLITS[index] for index in usage)
    for split in SPLITS:
        if expected is None and found[split] == 0:
            raise DataError(f"{path}: split {split} is missing.")
        if expected is not None and found[split] != expected[split]:
            raise DataError(f"{path}: {found[split]} {split} faces, expected {expected[split]}. Is the file complete?")
