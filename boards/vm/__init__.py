"""A whole board in a virtual machine: Debian's kernel and systemd under QEMU, the real bundle, a V4L2 camera."""
