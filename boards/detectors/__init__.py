"""Recall and cost of face detectors on scenes built from pinned packages: `make bench-detectors`."""
