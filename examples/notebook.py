"""Show a photograph in a Jupyter cell: python examples/notebook.py photo.jpg > cell.html.

In a notebook the last line of a cell is enough: a face or a result shows itself as a table, `picture(...)` as a
picture.
"""

import base64
import sys
from dataclasses import dataclass

import cv2
import numpy as np

import fer_edge


@dataclass(frozen=True)
class Picture:
    """A picture (h, w, 3) uint8 BGR that a notebook shows."""

    image_bgr: np.ndarray

    def _repr_png_(self) -> bytes:
        return cv2.imencode(".png", self.image_bgr)[1].tobytes()


def picture(image_bgr: np.ndarray, faces: tuple[fer_edge.Face, ...]) -> Picture:
    """The picture with what was found, faces hidden."""
    return Picture(fer_edge.annotate(image_bgr, faces, hide_faces=True))


if __name__ == "__main__":
    photo_bgr = cv2.imread(sys.argv[1])
    found = fer_edge.Recognizer()(photo_bgr)
    png = base64.b64encode(picture(photo_bgr, found)._repr_png_()).decode()
    print(f'<img alt="annotated photograph" src="data:image/png;base64,{png}">')
    print(*(face._repr_html_() for face in found), sep="\n")
