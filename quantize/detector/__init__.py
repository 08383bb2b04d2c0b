"""The published face detector as .tflite, float and INT8: `python -m quantize.detector`."""
