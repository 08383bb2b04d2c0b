"""A child process of the harness: `python -m tests.fuzz.child TARGET SEED FIRST END FOLDER`."""

import sys
from pathlib import Path

from tests.fuzz.harness import run_child

if __name__ == "__main__":
    name, seed, first, end, folder = sys.argv[1:]
    run_child(name, int(seed), int(first), int(end), Path(folder))
