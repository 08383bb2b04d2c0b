"""From a trained checkpoint to float ONNX and TFLite files that carry their contract, with golden vectors."""
