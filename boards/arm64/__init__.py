"""Arm userlands under QEMU on this machine: what an x86 workstation can prove of a board, and what it costs there."""
