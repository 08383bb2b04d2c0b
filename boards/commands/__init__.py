"""The commands of `python -m boards`, a file a subject; each has `register`, and imports its work when it runs."""

import argparse
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
