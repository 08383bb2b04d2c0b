"""Every code block of the README and of docs/: commands are understood as printed, quick ones and Python are run.

Commands that take hours, a network, a board or root are read by the very parser that would run them. A command that no
check here knows fails, so that nothing in the documentation goes unread.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import tomllib
import yaml

from fer_edge import __version__, cli, options
from fer_edge.bench import command as bench_command
from fer_edge.models import DEFAULT_MODEL

from boards.lab import command_line
from boards.profiles import load_profile
from export.commands import with_values_joined
from tests import code_blocks
from tests.code_blocks import Block, Command
from tests.conftest import ROOT, sample

BLOCKS = [block for page in code_blocks.PAGES for block in code_blocks.blocks_of(page)]
COMMANDS = code_blocks.commands()
INSTALLER = (ROOT / "boards/bundle/install.sh").read_text()
# Programs of the system, of which only the files and bundles they name are checked.
OF_THE_SYSTEM = ("systemctl", "journalctl", "ssh", "install", "mkdir", "cp", "sh", "prometheus")


def of(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


def named(items: list[Block] | list[Command]) -> list[object]:
    return [pytest.param(item, id=item.place) for item in items]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the documentation names, and it is the current one."""
    photograph = cv2.imread(str(sample("astronaut.png")))
    for name in ("photo.jpg", "photos/a.jpg", "photos/b.jpg", "faces/happy/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), photograph)
    reader = cv2.VideoCapture(str(sample("WolfgangLanger_Pexels.mp4")))
    writer = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 24, (640, 360))
    for _ in range(4):
        writer.write(cv2.resize(reader.read()[1], (640, 360)))
    writer.release()
    (tmp_path / "artifacts/mine").mkdir(parents=True)
    shutil.copy(DEFAULT_MODEL, tmp_path / "artifacts/mine/mine.fp32.tflite")
    shutil.copy(ROOT / "runtime/fer_edge/data/fer-edge.toml", tmp_path / "fer-edge.toml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", code_blocks.PAGES, ids=lambda page: page.name)
def test_every_block_says_its_language(page: Path) -> None:
    assert code_blocks.indented_lines(page) == []
    assert {block.language for block in code_blocks.blocks_of(page)} <= set(code_blocks.LANGUAGES)


@pytest.mark.parametrize("block", named(of("python")))
def test_python_runs_as_printed(block: Block, folder: Path) -> None:
    if "import keras" in block.text:
        compile(block.text, block.place, "exec")
        pytest.skip("Keras is not installed here; tests/export/test_keras.py runs this where it is")
    names: dict[str, object] = {}
    if "contract.to_json()" in block.text:
        _float_model_in(folder)
    exec(compile(block.text, block.place, "exec"), names)


def _float_model_in(folder: Path) -> None:
    """mine.onnx without a contract, as a user brings it, and mine.json beside it."""
    from tests.fuzz.models import contract_of, tiny_onnx

    (folder / "mine.onnx").write_bytes(tiny_onnx())
    (folder / "mine.json").write_text(contract_of("uint8", "NCHW").to_json())


@pytest.mark.parametrize("block", named(of("toml")))
def test_toml_is_read(block: Block, folder: Path) -> None:
    tables = tomllib.loads(block.text)
    if block.page.name == "service.md":
        (folder / "fer-edge.toml").write_text(block.text)
        (folder / "fer-edge.web-token").write_text("a-token-of-a-test")
        (folder / "fer-edge.web-token").chmod(0o600)
        options.parse(cli._run_parser(), ["0", "--config", "fer-edge.toml"])
    for job in tables.get("job", ()):
        _lab(job["command"], folder)


@pytest.mark.parametrize("block", named([*of("yaml"), *of("json")]))
def test_yaml_and_json_are_read(block: Block) -> None:
    assert (yaml.safe_load if block.language == "yaml" else json.loads)(block.text)


@pytest.mark.parametrize("command", named(COMMANDS))
def test_the_command_is_understood(command: Command, folder: Path) -> None:
    words = [word for word in command.words if word != "sudo"]
    program = Path(words[0]).name
    assert program in CHECKS, f"{command.place}: {program} is not known here; add a check of it"
    CHECKS[program](words[1:], folder)


def _make(words: list[str], folder: Path) -> None:
    """A dry run: unknown targets fail, and a variable is one that the Makefile names."""
    head = (ROOT / "Makefile").read_text()
    for word in words:
        if "=" in word:
            assert re.search(rf"\b{word.split('=')[0]}\b", head), word
    done = subprocess.run(["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def _fer_edge(words: list[str], folder: Path) -> None:
    """Run it where files are its source, and read it by its own parser where it wants a camera, a network or hours."""
    here = [word for word in words if word in ("photo.jpg", "photos/", "clip.mp4", "faces/")]
    if here and not {"--web", "--sustained", "--all"} & set(words):
        quick = ["--threads", "1", "-n", "2", "--warmup", "1"] if words[0] == "bench" else []
        assert cli.main([*words, *quick]) == 0
    elif words[0] == "bench":
        bench_command._options(words[1:], "")
    elif words[0] == "models":
        assert words[1:] in ([], ["--fetch", "yunet"], ["--fetch", "mediapipe"])
    elif words[0] == "doctor":
        assert cli.main(words) in (0, 2, 4)
    elif words[0] == "mqtt-clear":
        parser = cli.ArgumentParser()
        options.add_flags(parser, sections=("mqtt",))
        options.settings_from(parser.parse_args(words[1:]), sections=("mqtt",))
    else:
        options.parse(cli._run_parser(), words)


def _lab(words: list[str], folder: Path) -> None:
    """Read the words by the workbench's own parser, without running the job."""
    command_line()[0].parse_args(with_values_joined(words))


def _torchrun(words: list[str], folder: Path) -> None:
    module = words.index("-m")
    assert words[module + 1] == "boards.lab"
    _lab(words[module + 2 :], folder)


def _install_sh(words: list[str], folder: Path) -> None:
    for word in words:
        if word.startswith("--") or word in ("install", "rollback", "uninstall"):
            assert word in INSTALLER, f"install.sh knows no {word}"


def _names_a_bundle(words: list[str], folder: Path) -> None:
    """fer-edge-VERSION-BOARD.tar.gz of this version, for a board that has a profile."""
    for word in words:
        found = re.search(r"fer-edge-([0-9.]+)-([a-z0-9-]+?)\.tar\.gz$", word)
        if found:
            assert found[1] == __version__
            load_profile(found[2])


def _ansible_playbook(words: list[str], folder: Path) -> None:
    assert all((ROOT / word).is_file() for word in words if word.startswith("boards/"))


def _of_the_system(words: list[str], folder: Path) -> None:
    for word in words:
        path = word.split("=")[-1]
        if path.startswith("boards/"):
            assert (ROOT / path).exists(), path
        if path.startswith(".../fer_edge/"):
            assert (ROOT / "runtime" / path.removeprefix(".../")).exists(), path


CHECKS: dict[str, Callable[[list[str], Path], None]] = {
    "make": _make,
    "fer-edge": _fer_edge,
    "fer-edge-lab": _lab,
    "torchrun": _torchrun,
    "install.sh": _install_sh,
    "scp": _names_a_bundle,
    "tar": _names_a_bundle,
    "ansible-playbook": _ansible_playbook,
    **dict.fromkeys(OF_THE_SYSTEM, _of_the_system),
}
