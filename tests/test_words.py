"""The words people read: spelled as English, and none that an engineer of this field would stumble over."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, tracked_files

# Each with the word to write in its place.
INSTEAD = {
    r"\bartefacts?\b": "artifact",
    r"\banew\b": "again, from scratch, or a verb such as regenerate",
    r"\bwanted\b": "expected, asked, targets",
    r"\bmoods?\b": "state",
    r"\btaken over\b": "applied, copied, reused",
    r"\bas of which\b": "since then",
    r"\bit is that\b": "a plain sentence",
    r"\bwas taken for\b": "was predicted as",
    r"\bwhence\b|\bthereof\b|\bwherein\b": "a plain sentence",
}
# Spelled wrongly on purpose: what a user may type, parts of file formats, and stems of words.
ON_PURPOSE = "caf,trun,trian,smoothin,positiv,negativ,fase"


def texts() -> list[Path]:
    kinds = (".py", ".md", ".toml", ".sh", ".yml", "Makefile")
    return [path for path in tracked_files() if path.name.endswith(kinds)]


def test_words_that_readers_stumble_over_are_not_used() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]!r}, write {better}"
        for path in texts()
        if path != Path(__file__).resolve() and path.is_file()
        for word, better in INSTEAD.items()
        for match in re.finditer(word, path.read_text(), re.IGNORECASE)
        if (path.name, match[0]) != ("test_report.py", "mood")  # a column that no table has
    ]
    assert found == []


def test_words_are_spelled_as_english() -> None:
    pytest.importorskip("codespell_lib", reason="codespell is absent; `make setup` brings it")
    command = [sys.executable, "-m", "codespell_lib", "--ignore-words-list", ON_PURPOSE, *map(str, texts())]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert said.stdout == ""
