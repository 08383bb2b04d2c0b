"""Name the expressions a camera sees, or those of a video: python examples/webcam.py [SOURCE]."""

import sys

import fer_edge

recognizer = fer_edge.Recognizer()
source = sys.argv[1] if len(sys.argv) > 1 else "0"
for result in recognizer.stream(source):
    for face in result.faces:
        print(f"{result.captured_at_s:7.2f} s  face {face.track_id}: {face.expression} {face.confidence:.0%}")
