"""The README: every figure in its tables stands in a committed CSV, every file it names is there."""

import csv
import re
import subprocess

import pytest

from boards.compare import table
from boards.figures import accuracy_table, instructions_table, loop_table, peers_table
from boards.instructions import INSTRUCTIONS
from tests.conftest import ROOT
from train.command_line import MEASURED

README = (ROOT / "README.md").read_text()


def test_tables_are_those_of_the_committed_csv_files() -> None:
    assert accuracy_table(ROOT / MEASURED) in README
    assert loop_table(ROOT / MEASURED, "fer-base.int8.tflite") in README
    assert peers_table(ROOT / MEASURED) in README
    assert instructions_table(ROOT / INSTRUCTIONS) in README


def test_the_comparison_with_fer_is_that_of_the_committed_csv_file() -> None:
    assert table(ROOT / MEASURED / "loop.csv") in (ROOT / "docs/service.md").read_text()


def test_figures_are_of_the_model_that_is_committed() -> None:
    with open(ROOT / MEASURED / "fer-base" / "bench.csv", newline="") as stream:
        rows = {row["model"]: row for row in csv.DictReader(stream)}
    model = ROOT / "runtime/fer_edge/data/fer-base.int8.tflite"
    assert float(rows[model.name]["model_kb"]) == pytest.approx(model.stat().st_size / 1024, abs=0.5)


@pytest.mark.parametrize("document", sorted(p.relative_to(ROOT) for p in [ROOT / "README.md", *ROOT.glob("docs/*.md")]))
def test_links_lead_somewhere(document) -> None:
    path = ROOT / document
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", path.read_text())
    missing = [target for target in targets if "://" not in target and not (path.parent / target).exists()]
    assert missing == []


def test_every_make_target_the_readme_names_exists() -> None:
    for words in re.findall(r"`make ([a-z-][^`]*)`", README):
        for word in words.split():
            if re.fullmatch(r"[a-z-]+", word):
                told = subprocess.run(["make", "--dry-run", word], cwd=ROOT, capture_output=True, text=True)
                assert told.returncode == 0, told.stderr
