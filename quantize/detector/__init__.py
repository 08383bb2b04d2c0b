"""The published face detector as .tflite, float and INT8: `fer-edge-lab make-detector`."""
