"""Facial expression recognition on embedded boards: what runs on the board, and the contract it honours."""

__version__ = "0.1.0"
