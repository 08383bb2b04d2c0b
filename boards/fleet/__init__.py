"""Many boards: an Ansible role that installs them, and what Prometheus needs to watch them."""
