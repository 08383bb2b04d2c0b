"""Parity: an exported file must compute what the torch network computes."""

from pathlib import Path

import numpy as np

from fer_edge.classifier import Classifier

from export.errors import ExportError
from export.golden import Golden

# The largest difference between two logits that rounding in another order of operations explains.
MAX_DIFFERENCE = 1e-4


def check_parity(path: Path, golden: Golden) -> float:
    """Run `path` as a board would, contract and engine, and compare with torch.

    Returns the largest absolute logit difference over the golden inputs; raises ExportError above MAX_DIFFERENCE.
    """
    logits = Classifier(path).logits(golden.inputs)
    difference = float(np.abs(logits - golden.logits).max())
    if not difference <= MAX_DIFFERENCE:  # a NaN must fail too
        raise ExportError(
            f"{path.name}: logits differ from torch by {difference:.3g}, expected at most {MAX_DIFFERENCE:g}. "
            "Nothing was written; the architecture uses an operation this converter gets wrong."
        )
    return difference
