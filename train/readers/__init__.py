"""Readers of annotated datasets, in the layouts their publishers give them; all are to be asked for.

Every reader gives `train.annotated.AnnotatedFaces` and refuses what does not hold what its layout promises, by name.
"""

from collections.abc import Callable
from pathlib import Path

from train.annotated import AnnotatedFaces
from train.readers import afew_va, aff_wild, affectnet, bp4d, cat2000, ck_plus, disfa

READERS: dict[str, Callable[[Path], AnnotatedFaces]] = {
    "affectnet": affectnet.read,
    "afew-va": afew_va.read,
    "aff-wild": aff_wild.read,
    "bp4d": bp4d.read,
    "cat2000": cat2000.read,
    "ck-plus": ck_plus.read,
    "disfa": disfa.read,
}
