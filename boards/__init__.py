"""Boards: the benchmark of a workstation or a board, and its pictures."""
