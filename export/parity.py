"""Parity: an exported file must compute what the torch network computes."""

from pathlib import Path

import numpy as np

from fer_edge.classifier import Classifier

from export.errors import ExportError
from export.golden import Golden

# The largest difference between two logits that rounding in another order of operations explains.
MAX_DIFFERENCE = 1e-4


def check_parity(path: Path, golden: Golden) -> float:
    """Run `path` as a board would, contract and engine, and compare with the original.

    Returns the largest absolute logit difference over the golden inputs; raises ExportError above MAX_DIFFERENCE.
    """
    logits = Classifier(path).logits(golden.inputs)
    difference = float(np.abs(logits - golden.logits).max())
    # Other people's outputs may be large, and rounding grows with them.
    most = MAX_DIFFERENCE * max(1.0, float(np.abs(golden.logits).max()))
    if not difference <= most:  # a NaN must fail too
        raise ExportError(
            f"{path.name}: logits differ from the original by {difference:.3g}, expected at most {most:.3g}. "
            "Nothing was written; the architecture uses an operation this converter gets wrong."
        )
    return difference
