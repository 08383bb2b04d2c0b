"""The Ansible role: against an sshd on loopback with a real bundle, and with bundles that must not be trusted."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fer_edge.bench import read_rows

from boards.bundle.archive import sign
from tests.boards.tiny_bundle import make_tiny_bundle, seal
from tests.conftest import ROOT
from tests.waiting import eventually, listens

PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """ansible's connection variables of an sshd that knows one key."""
    if SSHD is None or not PLAYBOOK.is_file():
        pytest.skip("needs sshd (apt install openssh-server) and ansible-core (pip install --group fleet)")
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    options = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": folder / "host",
        "PidFile": "none",
        "UsePAM": "no",
        "Subsystem": "sftp internal-sftp",
    }
    options |= {
        "AuthorizedKeysFile": folder / "authorized",
        "StrictModes": "no",
        "PermitRootLogin": "prohibit-password",
    }
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", "/dev/null", *words], stderr=subprocess.PIPE)
    eventually(lambda: server.poll() is not None or listens(port))
    if server.poll() is not None:
        pytest.skip("sshd does not start here")
    ssh = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    yield (
        f"ansible_host=127.0.0.1 ansible_port={port} ansible_user={getpass.getuser()} "
        f"ansible_ssh_private_key_file={folder / 'user'} ansible_ssh_common_args='{ssh}' "
        f"ansible_python_interpreter=/usr/bin/python3"
    )
    server.terminate()
    server.wait()


LOCAL = "ansible_connection=local ansible_python_interpreter=/usr/bin/python3"


def play(folder: Path, board: str, archive: Path, *variables: str) -> subprocess.CompletedProcess[str]:
    (folder / "inventory").write_text(f"loopback {board} fer_edge_board=x86-64\n")
    options = ["--prefix", str(folder / "target"), "--bin", str(folder / "bin"), "--no-service"]
    given = {
        "fer_edge_become": "false",
        "fer_edge_bundle": str(archive),
        "fer_edge_command": str(folder / "bin" / "fer-edge"),
        "fer_edge_results": str(folder / "results"),
    }
    words = [word for key, value in given.items() for word in ("-e", f"{key}={value}")]
    words += [
        "-e",
        f'{{"fer_edge_install_options": {options}, "fer_edge_bench_options": ["-n", "3", "--warmup", "1"]}}'.replace(
            "'", '"'
        ),
    ]
    words += [word for variable in variables for word in ("-e", variable)]
    environment = {**os.environ, "ANSIBLE_LOCAL_TEMP": str(folder / "ansible"), "LC_ALL": "C.UTF-8"}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [str(PLAYBOOK), "-i", str(folder / "inventory"), *words, str(ROOT / "boards/fleet/site.yml")],
        capture_output=True,
        text=True,
        env=environment,
        timeout=1500,
    )


@pytest.mark.slow
@pytest.mark.timeout(4000)
def test_a_bundle_is_installed_measured_and_its_csv_collected(board: str, archive: Path, tmp_path: Path) -> None:
    first = play(tmp_path, board, archive)
    assert first.returncode == 0, first.stdout + first.stderr
    (row,) = read_rows(tmp_path / "results" / "loopback.csv")
    assert (row.stage, row.n) == ("classify", 3)
    assert (tmp_path / "target" / "current").is_symlink()
    second = play(tmp_path, board, archive, "fer_edge_bench=false")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "changed=0" in second.stdout


def test_a_bundle_that_was_not_made_says_how_to_make_it(board: str, tmp_path: Path) -> None:
    finished = play(tmp_path, board, tmp_path / "none.tar.gz")
    assert finished.returncode != 0
    assert "make bundle BOARD=x86-64" in finished.stdout


# --- nothing of a bundle runs before it is checked -----------------------------------------------------------------


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys `ours` and `theirs`, and `signers` that knows the first."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "signers").write_text(f"release@example {(folder / 'ours.pub').read_text()}")
    return folder


def hostile(folder: Path, ran: Path) -> Path:
    """A bundle of which every program tells that it was run."""
    bundle = make_tiny_bundle(folder / "bundle")
    (bundle / "install.sh").write_text(f"#!/bin/sh\nid >'{ran}'\n")
    (bundle / "smoke.py").write_text(f"open({str(ran)!r}, 'w').write('smoke')\n")
    seal(bundle)
    return bundle


def unsigned(bundle: Path, keys: Path) -> None:
    pass


def signed_by_a_stranger(bundle: Path, keys: Path) -> None:
    sign(bundle / "SHA256SUMS", keys / "theirs")


def with_a_file_too_many(bundle: Path, keys: Path) -> None:
    sign(bundle / "SHA256SUMS", keys / "ours")
    (bundle / "wheels/more.whl").write_text("more")


def changed_after_signing(bundle: Path, keys: Path) -> None:
    sign(bundle / "SHA256SUMS", keys / "ours")
    (bundle / "smoke.py").write_text((bundle / "smoke.py").read_text() + "# more\n")


def listed_anew_after_signing(bundle: Path, keys: Path) -> None:
    changed_after_signing(bundle, keys)
    seal(bundle)


def with_a_link_out(bundle: Path, keys: Path) -> None:
    sign(bundle / "SHA256SUMS", keys / "ours")
    (bundle / "out").symlink_to("/etc")


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (unsigned, "the bundle is not signed"),
        (signed_by_a_stranger, "not signed by anybody in signers"),
        (with_a_file_too_many, "files are not those SHA256SUMS lists"),
        (changed_after_signing, "a file is not what it was when it was bundled"),
        (listed_anew_after_signing, "does not fit SHA256SUMS"),
        (with_a_link_out, "neither file nor folder"),
    ],
)
def test_nothing_of_a_bundle_runs_unless_a_known_signer_vouches_for_all_of_it(
    tmp_path: Path, keys: Path, tamper: Callable[[Path, Path], None], message: str
) -> None:
    bundle = hostile(tmp_path, tmp_path / "ran")
    tamper(bundle, keys)
    finished = play(tmp_path, LOCAL, packed(bundle), f"fer_edge_signers={keys / 'signers'}")
    assert finished.returncode != 0
    assert message in " ".join(finished.stdout.split())
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_a_bundle_a_known_signer_vouches_for_is_installed(tmp_path: Path, keys: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    sign(bundle / "SHA256SUMS", keys / "ours")
    variables = (f"fer_edge_signers={keys / 'signers'}", "fer_edge_bench=false")
    finished = play(tmp_path, LOCAL, packed(bundle), *variables)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert (tmp_path / "target/current/venv/bin/fer-edge").is_file()


def packed(bundle: Path) -> Path:
    """A .tar.gz of the folder as it is, links included."""
    archive = bundle.with_name(f"{bundle.name}.tar.gz")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(bundle, bundle.name)
    return archive
