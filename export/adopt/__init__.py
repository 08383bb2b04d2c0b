"""Other people's networks: an ONNX, TFLite or torch file becomes an artifact folder like those of our own checkpoints.

`reading` opens the file, `answers` is what its owner has to say about it, `folding` puts the preprocessing into the
graph, `conversion` makes the other format, `measuring` tries the usual preprocessing on labelled faces, `adoption` puts
them together.
"""
