"""Materials of a search, gathered once: float models, calibration, faces that judge, target and limits."""

import functools
import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.files import sha256_of

from quantize.calibration import Calibration, CalibrationOptions, calibrate
from quantize.faces import Evaluation, FaceSets, open_faces
from quantize.gate import Limits
from quantize.recipes import Recipe, Target
from quantize.source import FloatModels
from quantize.work import source_digest

_LIBRARIES = ("onnxruntime", "onnx", "nncf", "ai-edge-quantizer", "ai-edge-litert", "torch")


@dataclass(frozen=True, eq=False)
class Materials:
    """All that recipes work with. `faces` and `checkpoint` are None where they are not at hand.

    One is like no other, so that what is dear to make of it can be kept by it.
    """

    models: FloatModels
    calibration: Calibration
    faces: FaceSets | None
    evaluation: Evaluation
    checkpoint: Path | None
    target: Target
    limits: Limits

    @functools.cached_property
    def digest(self) -> str:
        """Part of the SHA-256 over everything that decides what a recipe makes of these models."""
        digest = hashlib.sha256(source_digest().encode())
        for model in self.models.classifiers.values():
            digest.update(sha256_of(model.path).encode())
        calibration = self.calibration
        digest.update(f"{calibration.description()} {calibration.quantile}".encode())
        # Ranges by other methods follow from the same faces.
        digest.update(f"{[methods.get('minmax') for methods in calibration.ranges.values()]}".encode())
        digest.update(f"{[version(name) for name in _LIBRARIES]}".encode())
        return digest.hexdigest()[:16]

    @functools.cached_property
    def evaluation_digest(self) -> str:
        """Part of the SHA-256 over the images that judge."""
        return hashlib.sha256(self.evaluation.images.tobytes()).hexdigest()[:16]

    @property
    def images(self) -> NDArray[np.uint8]:
        """Images (n, h, w) uint8 to try things out on while a model is made: never those that judge."""
        return self.models.golden if self.faces is None else self.faces.calibration.images


def gather(
    models: FloatModels,
    calibration_options: CalibrationOptions,
    recipes: tuple[Recipe, ...],
    target: Target,
    limits: Limits,
    checkpoint: Path | None = None,
) -> Materials:
    """Faces, calibration, and the images that judge: the golden inputs where no face has a ground truth.

    Raises what `open_faces` and `calibrate` raise.
    """
    faces = open_faces(calibration_options.faces, models.contract, calibration_options.count, calibration_options.seed)
    methods = tuple(recipe.ranges for recipe in recipes)
    calibration = calibrate(models, None if faces is None else faces.calibration, calibration_options, methods)
    judges = None if faces is None else faces.evaluation
    evaluation = Evaluation(models.golden if judges is None else judges.images, judges)
    return Materials(models, calibration, faces, evaluation, checkpoint, target, limits)
