"""A pandas table of what `fer-edge --jsonl` wrote, one row a face: python examples/table.py results.jsonl."""

import json
import sys
from pathlib import Path

import pandas as pd


def table_of(path: Path) -> pd.DataFrame:
    """One row a face, with a column for every label's probability."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    faces = pd.json_normalize(lines, record_path="faces", meta=["frame_index", "time_s", "source"])
    return faces.rename(columns=lambda name: name.removeprefix("probabilities."))


if __name__ == "__main__":
    table = table_of(Path(sys.argv[1]))
    seconds = table["time_s"].astype(float).astype(int).rename("second")
    print(table.groupby([seconds, "expression"]).size().unstack(fill_value=0))
