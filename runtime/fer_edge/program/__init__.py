"""The camera program people leave running: frames through the pipeline into sinks, until told to stop."""
