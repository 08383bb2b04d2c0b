"""Byte-identical archives: the same contents give the same bytes, whoever builds them, whenever."""

import gzip
import subprocess
import tarfile
import tempfile
import zlib
from pathlib import Path

from fer_edge.errors import UsageError
from fer_edge.files import atomic_write, sha256_of

SUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
NAMESPACE = "fer-edge"
EPOCH_S = 315_532_800  # 1980-01-01, the earliest time a zip file can hold
_PROGRAMS = (".sh",)


def write_sums(folder: Path) -> Path:
    """Write SHA256SUMS over every file below `folder`, as sha256sum --check reads it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (SUMS, SIGNATURE))
    lines = [f"{sha256_of(path)}  ./{path.relative_to(folder).as_posix()}\n" for path in paths]
    (folder / SUMS).write_text("".join(lines))
    return folder / SUMS


def sign(sums: Path, key: Path) -> Path:
    """Sign `sums` with an OpenSSH private key, beside it. Raises UsageError when the key cannot be used.

    Check: ssh-keygen -Y verify -f ALLOWED_SIGNERS -I NAME -n fer-edge -s SHA256SUMS.sig < SHA256SUMS
    """
    if not key.is_file():
        raise UsageError(f"{key} not found. Make a key with `ssh-keygen -t ed25519 -f {key}`.")
    command = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE, str(sums)]
    finished = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if finished.returncode != 0:
        raise UsageError(f"{key} cannot sign: {' '.join(finished.stderr.split()) or 'ssh-keygen said nothing'}")
    return sums.with_name(SIGNATURE)


def require_key(key: Path) -> None:
    """Raise UsageError unless `key` signs."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / SUMS
        trial.write_text("")
        sign(trial, key)


def pack(folder: Path, archive: Path) -> None:
    """Write `folder` as a .tar.gz with sorted names, one time, no owner and plain modes."""
    # Wheels are compressed already: a higher level costs minutes and gains nothing.
    with (
        atomic_write(archive) as temporary,
        open(temporary, "wb") as stream,
        gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=1, mtime=EPOCH_S) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in [folder, *sorted(folder.rglob("*"))]:
            _add(tar, path, path.relative_to(folder.parent).as_posix())


def require_bundle(archive: Path, board: str) -> None:
    """Raise UsageError unless `archive` is there, whole, and a bundle: one folder with an installer and its sums."""
    remedy = f"Make it with `make bundle BOARD={board}`."
    if not archive.is_file():
        raise UsageError(f"{archive} not found. {remedy}")
    try:
        with tarfile.open(archive) as tar:
            names = tar.getnames()
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        raise UsageError(f"{archive}: not a .tar.gz, damaged or cut short; expected a bundle. {remedy}") from None
    folders = {name.split("/")[0] for name in names}
    missing = [name for name in ("install.sh", SUMS) if not any(f"{folder}/{name}" in names for folder in folders)]
    if len(folders) != 1 or missing:
        raise UsageError(f"{archive}: not one folder with install.sh and {SUMS}; expected a bundle. {remedy}")


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.mtime = EPOCH_S
    if path.is_dir():
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(entry)
        return
    entry.size, entry.mode = path.stat().st_size, 0o755 if path.suffix in _PROGRAMS else 0o644
    with open(path, "rb") as stream:
        tar.addfile(entry, stream)
