"""A stub: picamera2 imports PiDNG, which is there as source alone, to write raw pictures. fer-edge writes none."""
