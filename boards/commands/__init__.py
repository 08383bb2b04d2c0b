"""The commands of `fer-edge-lab` about boards; each has `register`, and imports its work when it runs."""
