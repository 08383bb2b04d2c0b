"""A bundle of a few kilobytes for tests of the installer: install.sh and pip are real, the program is a stub.

Most tests copy a venv in place of making one, which takes half the time; pip works in the copy all the same.
"""

import base64
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from boards.bundle import installer
from boards.bundle.archive import write_sums

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SMOKE = "import fer_edge\nprint('smoke run: fine')\n"
UNIT = """\
[Service]
Type=notify
ExecStart=/opt/fer-edge/bin/fer-edge --config /etc/fer-edge/fer-edge.toml --quiet
DynamicUser=yes
SupplementaryGroups=video
"""


def make_tiny_bundle(folder: Path, version: str = "1.0", *, smoke: str = SMOKE, unit: str = UNIT) -> Path:
    """Write a bundle of release `version` into `folder`, which is made; return the folder."""
    (folder / "wheels").mkdir(parents=True)
    wheel = _wheel(folder / "wheels", version)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    texts = {
        "install.sh": installer(),
        "smoke.py": smoke,
        "fer-edge.toml": '[model]\nfile = "@RELEASE@/model/net.tflite"\n',
        "fer-edge.service": unit,
        "profile.toml": "",
        "smoke.npz": "",
        "model/net.tflite": "net",
        "detector/face.tflite": "face",
        f"requirements-{PYTHON}.txt": f"fer-edge=={version} --hash=sha256:{digest}\n",
        "bundle.env": _facts(version),
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    write_sums(folder)
    return folder


def _facts(version: str) -> str:
    facts = {
        "VERSION": version,
        "ARCH": platform.machine(),
        "PYTHONS": f"{PYTHON}:2.17",
        "SYSTEM_SITE_PACKAGES": "no",
        "MODEL": "model/net.tflite",
        "DETECTOR": "none",
        "DETECTOR_FILE": "detector/face.tflite",
        "ENGINE": "none",
    }
    return "".join(f'{key}="{value}"\n' for key, value in facts.items())


def _wheel(folder: Path, version: str) -> Path:
    """A wheel whose one command prints its version."""
    info = f"fer_edge-{version}.dist-info"
    files = {
        "fer_edge/__init__.py": f"def main():\n    print('fer-edge {version}')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: fer-edge\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nfer-edge = fer_edge:main\n",
    }
    record = [f"{name},sha256={_digest(text)},{len(text)}" for name, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    path = folder / f"fer_edge-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def seal(folder: Path) -> None:
    """List the files again, after a test has changed one."""
    (folder / "SHA256SUMS").unlink()
    write_sums(folder)


def install(
    bundle: Path,
    target: Path,
    *words: str,
    settings: dict[str, str] | None = None,
    steps: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run install.sh of `bundle` for target/fer-edge and target/bin; `steps` is a folder of programs found first."""
    action, *options = words if words and not words[0].startswith("-") else ("install", *words)
    places = ["--prefix", str(target / "fer-edge"), "--bin", str(target / "bin")]
    environment = environment_without_python() | (settings or {})
    environment["PATH"] = f"{steps}:{environment['PATH']}" if steps else environment["PATH"]
    service = [] if "--units" in options else ["--no-service"]
    command = ["sh", str(bundle / "install.sh"), action, *places, *service, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)


def programs(folder: Path, script: str, *names: str) -> Path:
    """A folder of programs that run `script` ($REAL is the program itself) in place of those in PATH."""
    folder.mkdir(exist_ok=True)
    for name in names:
        real = shutil.which(name)
        assert real is not None, name
        (folder / name).write_text(f"#!/bin/sh\nREAL={real}\n{script}\n")
        (folder / name).chmod(0o755)
    return folder


_TEMPORARY = tempfile.TemporaryDirectory()


@functools.cache
def copying_python() -> Path:
    """A folder with a python3 that copies a venv in place of making one."""
    venv = Path(_TEMPORARY.name) / "venv"
    subprocess.run(["python3", "-I", "-m", "venv", str(venv)], check=True)
    return programs(venv.with_name("steps"), copy_venv(venv) + '\nexec "$REAL" "$@"', "python3")


def copy_venv(venv: Path) -> str:
    """Shell code that copies `venv` where `python3 -I -m venv FOLDER` would make one, and goes on elsewhere."""
    return f"""case $* in "-I -m venv "*) mkdir -p "$4" && exec cp -a "{venv}/." "$4" ;; esac"""


def version_in(target: Path, link: str = "current") -> str:
    """Version that the release behind `link` prints; raises where it does not run."""
    return output_of(target / "fer-edge" / link / "venv/bin/fer-edge").strip().removeprefix("fer-edge ")


def output_of(program: Path) -> str:
    """Output of a release's program; raises where it fails."""
    environment = environment_without_python()
    return subprocess.run([program], capture_output=True, text=True, check=True, env=environment).stdout


def environment_without_python() -> dict[str, str]:
    """This environment; a PYTHONPATH would have the release import the fer_edge of the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
