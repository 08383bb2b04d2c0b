"""From float artifacts to verified INT8 ones: calibration, post-training quantization, and the gate they must pass."""
