"""Instructions an inference on an Arm core, as counted under emulation and kept in a CSV by `python -m boards`."""

import csv
from pathlib import Path

from fer_edge.errors import DataError, UsageError

DEFAULT_PATH = Path("boards/instructions.csv")
_COLUMNS = ("model_sha256", "cpu", "instructions")


def counted(path: Path | None, cpu: str | None) -> dict[str, int]:
    """Instructions of one inference on `cpu` by the model file's SHA-256; empty where nothing was counted.

    Without a path it is the committed table, which may be absent. Raises UsageError where the file named is not there,
    DataError where it is no such table.
    """
    if path is not None and not path.is_file():
        raise UsageError(f"{path} not found. Make it with `python -m boards instructions MODEL... --out {path}`.")
    path = DEFAULT_PATH if path is None else path
    if cpu is None or not path.is_file():
        return {}
    try:
        return _read(path, cpu)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a CSV file ({error.reason}).") from None


def _read(path: Path, cpu: str) -> dict[str, int]:
    with open(path, newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"{path}: no column {missing[0]!r}. Make it again with `python -m boards instructions`.")
        try:
            return {row["model_sha256"]: int(row["instructions"]) for row in reader if row["cpu"] == cpu}
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: instructions are not a whole number ({error}).") from None
