"""Readers of annotated datasets, in the layouts their publishers give them; all are to be asked for.

Every reader returns `train.data.annotated.AnnotatedFaces` and refuses, by name, a file that breaks its layout.
"""

from collections.abc import Callable
from pathlib import Path

from train.data.annotated import AnnotatedFaces
from train.data.readers import afew_va, aff_wild, affectnet, bp4d, cat2000, ck_plus, disfa

READERS: dict[str, Callable[[Path], AnnotatedFaces]] = {
    "affectnet": affectnet.read,
    "afew-va": afew_va.read,
    "aff-wild": aff_wild.read,
    "bp4d": bp4d.read,
    "cat2000": cat2000.read,
    "ck-plus": ck_plus.read,
    "disfa": disfa.read,
}
