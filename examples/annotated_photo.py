"""Draw the expressions into a photograph, faces hidden: python examples/annotated_photo.py photo.jpg annotated.jpg."""

import sys

import cv2

import fer_edge

image_bgr = cv2.imread(sys.argv[1])
faces = fer_edge.Recognizer()(image_bgr)
cv2.imwrite(sys.argv[2], fer_edge.annotate(image_bgr, faces, hide_faces=True))
print(*(f"{face.expression} {face.confidence:.0%}" for face in faces), sep="\n")
