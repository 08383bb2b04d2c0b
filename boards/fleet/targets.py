"""The boards of an Ansible inventory as scrape targets of Prometheus (file_sd_configs)."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from fer_edge.errors import UsageError
from fer_edge.files import atomic_write

PORT = 9100


def require_boards(inventory: Path) -> dict[str, dict[str, Any]]:
    """Variables of each host of an Ansible inventory that has `fer_edge_board`, by the host's name.

    Raises UsageError for an inventory that Ansible cannot read or that has no board.
    """
    hosts = _hosts(inventory)
    if not hosts:
        raise UsageError(f"{inventory} has no host with fer_edge_board. See boards/fleet/inventory.example.yml.")
    return hosts


def write_targets(inventory: Path, out: Path, port: int = PORT) -> int:
    """Write a target for every host of the inventory that has `fer_edge_board`; return how many there are.

    Labels: board (the host's name) and profile; host variables fer_edge_metrics_port and fer_edge_wave are copied.
    Raises UsageError for an inventory that Ansible cannot read or that has no board.
    """
    targets = [_target(name, facts, port) for name, facts in sorted(require_boards(inventory).items())]
    with atomic_write(out) as temporary:
        temporary.write_text(json.dumps(targets, indent=2) + "\n")
    return len(targets)


def _hosts(inventory: Path) -> dict[str, dict[str, Any]]:
    """Variables of each host that is a board."""
    if not inventory.exists():
        raise UsageError(f"{inventory} not found. See boards/fleet/inventory.example.yml.")
    program = Path(sys.executable).with_name("ansible-inventory")
    if not program.is_file():
        raise UsageError("ansible-inventory not found. Install it: make setup")
    command = [str(program), "--inventory", str(inventory), "--list"]
    finished = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if finished.returncode != 0 or "Unable to parse" in finished.stderr:
        raise UsageError(
            f"{inventory} is no inventory that Ansible can read: {_reason(finished.stderr)} "
            "See boards/fleet/inventory.example.yml."
        )
    variables: dict[str, dict[str, Any]] = json.loads(finished.stdout)["_meta"]["hostvars"]
    return {name: facts for name, facts in variables.items() if "fer_edge_board" in facts}


def _reason(said: str) -> str:
    """The first of Ansible's warnings that is about a plugin's parsing; it breaks its lines anywhere."""
    text = " ".join(said.split())
    return text[max(text.find("Failed to parse"), 0) :].split("[WARNING]")[0].strip()[:200]


def _target(name: str, facts: dict[str, Any], port: int) -> dict[str, Any]:
    address = str(facts.get("ansible_host", name))
    address = f"[{address}]" if ":" in address else address
    labels = {"board": name, "profile": str(facts["fer_edge_board"])}
    if "fer_edge_wave" in facts:
        labels["wave"] = str(facts["fer_edge_wave"])
    return {"targets": [f"{address}:{facts.get('fer_edge_metrics_port', port)}"], "labels": labels}
