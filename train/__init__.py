"""From FER2013 to a trained checkpoint: reader, architectures, recipes, training loop, evaluation."""
