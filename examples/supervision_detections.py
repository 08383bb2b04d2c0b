"""Results as `supervision.Detections`, for its annotators and zones: supervision_detections.py VIDEO."""

import sys

import numpy as np
import supervision as sv

import fer_edge


def class_of(face: fer_edge.Face) -> int:
    """The place of the face's expression among the model's labels; -1 for a name that is none of them, as of values."""
    return face.labels.index(face.expression) if face.expression in face.labels else -1


def detections_of(result: fer_edge.FrameResult) -> sv.Detections:
    """The faces of a frame; class ids are places among the model's labels, class names the expressions."""
    if not result.faces:
        return sv.Detections.empty()
    boxes = [face.box_px for face in result.faces]
    corners = [(b.left_px, b.top_px, b.left_px + b.width_px, b.top_px + b.height_px) for b in boxes]
    return sv.Detections(
        xyxy=np.array(corners, dtype=np.float32),
        confidence=np.array([face.confidence for face in result.faces], dtype=np.float32),
        class_id=np.array([class_of(face) for face in result.faces]),
        tracker_id=np.array([face.track_id for face in result.faces]),
        data={"class_name": np.array([face.expression for face in result.faces])},
    )


if __name__ == "__main__":
    for found in fer_edge.Recognizer().stream(sys.argv[1]):
        print(found.frame_index, detections_of(found).data.get("class_name", []))
