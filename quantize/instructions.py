"""Instructions an inference on an Arm core, as counted under emulation and kept in a CSV by `python -m boards`."""

import csv
from pathlib import Path

from fer_edge.errors import DataError

DEFAULT_PATH = Path("boards/instructions.csv")
_COLUMNS = ("model_sha256", "cpu", "instructions")


def counted(path: Path, cpu: str | None) -> dict[str, int]:
    """Instructions of one inference on `cpu` by the model file's SHA-256; empty where nothing was counted.

    Raises DataError where the file is no such table.
    """
    if cpu is None or not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"{path}: no column {missing[0]!r}. Make it again with `python -m boards instructions`.")
        try:
            return {row["model_sha256"]: int(row["instructions"]) for row in reader if row["cpu"] == cpu}
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: instructions are not a whole number ({error}).") from None
