"""`python -m tests.fuzz [TARGET ...] --n 300000`: mutated inputs for every reader of what others wrote.

N inputs are shared out over the targets. What is found is printed with the file of its input; exit code 1 then.
"""

import argparse
import sys
import time
from pathlib import Path

from tests.fuzz.harness import fuzz
from tests.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (all)")
    parser.add_argument("--n", type=int, default=30_000, help="inputs in all (default 30000)")
    parser.add_argument("--seed", type=int, default=0, help="another seed makes other inputs (default 0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each target (default 0)")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="folder for inputs that fail")
    options = parser.parse_args()
    names = options.targets or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"unknown target {', '.join(sorted(unknown))}; there are: {', '.join(TARGETS)}")
    found = 0
    for name in names:
        started_s, count = time.monotonic(), max(options.n // len(names), 1)
        faults = fuzz(name, count, seed=options.seed, first=options.first, folder=options.keep)
        found += len(faults)
        took_s = time.monotonic() - started_s
        print(f"{name:16}{count:8} inputs  {took_s:7.1f} s  {len(faults)} faults", flush=True)
        for fault in faults:
            print(fault, flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
