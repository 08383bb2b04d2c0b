"""What is known and measured of boards: the benchmark of a workstation or a board, and its pictures."""
