"""The steps of install.sh one by one: its functions run in a shell of their own, over folders of a test.

Where a step calls systemd, a package manager or a virtual environment, the test says what stands in for it. The whole
program, with real environments, is test_install.py.
"""

import os
import shutil
import stat
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.version import Version

from fer_edge.detectors import DATA

from boards.bundle import installer

MAIN = 'main "$@"\nexit 0\n'


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """install.sh as a bundle has it, without its last lines, which run it."""
    path = tmp_path_factory.mktemp("install") / "functions.sh"
    assert installer().endswith(MAIN)
    path.write_text(installer().removesuffix(MAIN))
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def run(functions: Path, tmp_path: Path, home: Path):
    """Run a script after the functions: prefix, bin and units lie in the test's folder, the bundle in `here`."""

    def run(script: str, code: int = 0, **settings: str) -> subprocess.CompletedProcess[str]:
        names = {"prefix": tmp_path / "p", "bin": tmp_path / "bin", "units": tmp_path / "units", "here": tmp_path / "b"}
        known = {"service": "no", "purge": "no", "old": "", "old_previous": "", "group": "fer-edge-config"} | names
        known |= {"config": tmp_path / "p/fer-edge.toml", "wrote_unit": "no", "switched": "no", "engine_wheel": ""}
        (tmp_path / "b").mkdir(exist_ok=True)
        (tmp_path / "p").mkdir(exist_ok=True)
        assigned = "".join(f"{name}={quoted(str(value))}\n" for name, value in (known | settings).items())
        environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
        text = f". '{functions}'\n{assigned}{script}\n"
        finished = subprocess.run(["sh", "-c", text], capture_output=True, text=True, env=environment, timeout=60)
        assert finished.returncode == code, finished.stdout + finished.stderr
        return finished

    return run


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("tenth", range(1, 10))
def test_a_copy_that_was_cut_off_does_nothing(tmp_path: Path, home: Path, tenth: int) -> None:
    text = installer()
    (tmp_path / "install.sh").write_text(text[: len(text) * tenth // 10])
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    command = ["sh", str(tmp_path / "install.sh"), "--prefix", str(tmp_path / "p"), "--bin", str(tmp_path / "bin")]
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert finished.stdout == ""
    assert [path.name for path in tmp_path.iterdir() if path != home] == ["install.sh"]
    assert not list(home.iterdir())


# --- words and settings ---------------------------------------------------------------------------------------------


def test_settings_for_pip_and_python_are_forgotten_and_others_kept(run) -> None:
    settings = "export PIP_INDEX_URL=http://x/ PYTHONPATH=/x PYTHONHOME=/y CDPATH=/tmp KEPT=1; umask 077\n"
    seen = run(settings + "clean_environment; umask; env | grep -E '^(PIP|PYTHON|CDPATH|KEPT)' | sort")
    assert seen.stdout.split() == ["0022", "KEPT=1", "PIP_CONFIG_FILE=/dev/null"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", "install no no no P/fer-edge.toml"),
        ("install --purge", "install no yes no P/fer-edge.toml"),
        ("uninstall --downgrade", "uninstall no no yes P/fer-edge.toml"),
        ("rollback --config /etc/mine.toml", "rollback no no no /etc/mine.toml"),
        ("--units /etc/systemd/system", "install yes no no P/fer-edge.toml"),
        ("--units /etc/systemd/system --no-service", "install no no no P/fer-edge.toml"),
        ("--prefix /opt/fer-edge", "install no no no /etc/fer-edge/fer-edge.toml"),
        ("--prefix /opt//mine/../other/", "install no no no /opt/other/fer-edge.toml"),
    ],
)
def test_words_are_read_in_any_order_and_the_configuration_lies_where_its_prefix_says(
    run, tmp_path: Path, words: str, expected: str
) -> None:
    seen = run(
        f'defaults; service=no prefix={tmp_path}/p\nparse {words}\necho "$action $service $purge $downgrade $config"'
    )
    assert seen.stdout.strip().replace(str(tmp_path / "p"), "P") == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--prefix", "--prefix needs a value."),
        ("--purge --config", "--config needs a value."),
        ("--force", "unknown argument --force. See the head of this file."),
        ("--purge install", "unknown argument install."),
        ("upgrade", "unknown argument upgrade."),
        ("--signers /nowhere/signers", "--signers /nowhere/signers: not found."),
        ("--engine-wheel /nowhere/x.whl", "--engine-wheel /nowhere/x.whl: not found."),
        ("--bin -x", "--bin -x: expected an absolute path."),
        ("--units '/a b;c'", "--units /a b;c: pip cannot write a program into a path with one of"),
    ],
)
def test_a_word_that_is_not_understood_is_one_line(run, words: str, message: str) -> None:
    refused = run(f"defaults; parse {words}; echo went on", code=2)
    assert refused.stderr.startswith(f"install.sh: {message}") and len(refused.stderr.splitlines()) == 1
    assert refused.stdout == ""


# Each is newer than the one before it.
VERSIONS = ("0.9", "0.10", "1.0.dev3", "1.0a1.dev2", "1.0a1", "1.0b2", "1.0rc1", "1.0", "1.0.1", "1.2", "10.0")


def test_versions_are_compared_as_packages_are(run) -> None:
    assert list(VERSIONS) == sorted(VERSIONS, key=Version)
    pairs = [pair for older, newer in pairwise(VERSIONS) for pair in ((older, newer), (newer, older))]
    asked = "\n".join(f"if is_older {a} {b}; then echo yes; else echo no; fi" for a, b in [*pairs, ("1.0", "1.0")])
    assert run(asked).stdout.split() == ["yes", "no"] * (len(pairs) // 2) + ["no"]


def test_a_fact_of_a_release_is_read_without_running_its_file(run, tmp_path: Path) -> None:
    release = tmp_path / "release"
    release.mkdir()
    (release / "bundle.env").write_text('touch "$HOME/ran"\nVERSION="1.2"\nXVERSION="9"\nVERSION_X="8"\n')
    assert run(f"fact VERSION '{release}'").stdout == "1.2\n"
    assert not (tmp_path / "home/ran").exists()


# --- text that is filled in -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "a&b", "a|b", "a\\b", "\\1", "&&", "a/b/c", "50 % ü", "a.*b"])
def test_the_folder_of_the_release_is_filled_in_whatever_its_letters(run, tmp_path: Path, name: str) -> None:
    (tmp_path / "in.toml").write_text('file = "@RELEASE@/net"\nother = "@RELEASE@/a:@RELEASE@/b"\n# & | \\ stay\n')
    seen = run(f"filled '{tmp_path}/in.toml'", prefix=f"/opt/{name}").stdout
    place = f"/opt/{name}/current"
    assert seen == f'file = "{place}/net"\nother = "{place}/a:{place}/b"\n# & | \\ stay\n'


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/opt/fer-edge/a_b+c.d", "/opt/fer-edge/a_b+c.d"),
        ("/opt/with blank", '"/opt/with blank"'),
        ("/opt/50%", '"/opt/50%%"'),
        ("/opt/%%h", '"/opt/%%%%h"'),
        ("/opt/a&b", '"/opt/a&b"'),
    ],
)
def test_a_path_in_a_unit_is_one_word_without_specifiers(run, path: str, word: str) -> None:
    assert run(f"in_unit {quoted(path)}").stdout == f"{word}\n"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A release with the unit that the runtime ships."""
    folder = tmp_path / "p/releases/1"
    folder.mkdir(parents=True)
    shutil.copy(DATA / "fer-edge.service", folder)
    return folder


@pytest.mark.parametrize("name", ["plain", "with blank", "a&b", "50%", "a|b\\c"])
def test_a_unit_starts_the_release_in_use_with_its_configuration_and_is_else_as_it_was(
    run, tmp_path: Path, release: Path, name: str
) -> None:
    prefix, config = f"/opt/{name}", f"/etc/{name}/fer-edge.toml"
    run(f"umask 077; install_service '{release}'", service="yes", prefix=prefix, config=config)
    written = (tmp_path / "units/fer-edge.service").read_text().splitlines()
    original = (DATA / "fer-edge.service").read_text().splitlines()
    changed = [(a, b) for a, b in zip(original, written, strict=True) if a != b]
    words = [
        path if name == "plain" else f'"{path}"'.replace("%", "%%")
        for path in (f"{prefix}/current/venv/bin/fer-edge", config)
    ]
    assert changed == [
        (
            next(line for line in original if line.startswith("ExecStart=")),
            f"ExecStart={words[0]} --config {words[1]} --quiet",
        )
    ]
    assert mode_of(tmp_path / "units/fer-edge.service") == 0o644
    assert [path.name for path in (tmp_path / "units").iterdir()] == ["fer-edge.service"]


def test_a_group_of_its_own_is_added_to_the_groups_of_the_unit(run, tmp_path: Path, release: Path) -> None:
    run(f"has_group() {{ :; }}; install_service '{release}'", service="yes")
    groups = [
        line
        for line in (tmp_path / "units/fer-edge.service").read_text().splitlines()
        if line.startswith("Supplementary")
    ]
    assert groups == ["SupplementaryGroups=video fer-edge-config"]


def test_no_unit_is_written_where_no_service_is_asked_for_or_the_release_has_none(
    run, tmp_path: Path, release: Path
) -> None:
    run(f"install_service '{release}'", service="no")
    (release / "fer-edge.service").unlink()
    run(f"install_service '{release}'", service="yes")
    assert not (tmp_path / "units").exists()


def test_a_unit_is_ours_only_where_it_starts_exactly_this_installation(run, tmp_path: Path, release: Path) -> None:
    run(f"install_service '{release}'", service="yes")
    asked = "if has_own_unit; then echo ours; else echo theirs; fi"
    assert run(asked, service="yes").stdout == "ours\n"
    assert run(asked, service="yes", prefix=f"{tmp_path}/p2").stdout == "theirs\n"
    assert run(asked, service="yes", prefix=str(tmp_path)).stdout == "theirs\n"
    assert run(asked, service="no").stdout == "theirs\n"


# --- configuration: passwords of cameras and brokers are in it ------------------------------------------------------


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """The configuration that a release brings, in a folder that everybody can read."""
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "fer-edge.toml").write_text("# new\n")
    (folder / "fer-edge.toml").chmod(0o644)
    return folder


def test_a_new_configuration_is_at_no_moment_readable_by_others(run, tmp_path: Path, fresh: Path) -> None:
    look = """mv() { for last; do :; done; stat -c '%a' "$last.part"; command mv "$@"; }"""
    config = tmp_path / "etc/deep/fer-edge.toml"
    seen = run(
        f"umask 022; {look}; protect_configuration() {{ :; }}; install_configuration",
        release=str(fresh),
        config=str(config),
    )
    assert seen.stdout == "600\n"
    assert (config.read_text(), mode_of(config)) == ("# new\n", 0o600)


def test_the_umask_of_the_configuration_is_not_that_of_what_follows(run, fresh: Path) -> None:
    assert run("umask 022; install_configuration; umask", release=str(fresh)).stdout == "0022\n"


def test_a_configuration_that_is_there_is_kept_and_the_new_one_is_named_where_it_differs(
    run, tmp_path: Path, fresh: Path
) -> None:
    config = tmp_path / "mine.toml"
    config.write_text("# mine\n")
    kept = run("install_configuration", release=str(fresh), config=str(config))
    assert (
        kept.stdout == f"install.sh: {config} is kept; the new version's stands in {tmp_path}/p/current/fer-edge.toml\n"
    )
    assert config.read_text() == "# mine\n"
    config.write_text("# new\n")
    assert run("install_configuration", release=str(fresh), config=str(config)).stdout == ""
    assert not config.with_name("mine.toml.part").exists()


SYSTEM = "uses_system_units() { :; }\n"
NO_GROUP = "getent() { return 2; }; groupadd() { return 1; }\n"
NEW_GROUP = 'getent() { return 2; }; groupadd() { echo "groupadd $*"; }; chgrp() { echo "chgrp $*"; }\n'


@pytest.mark.parametrize(
    ("stand_ins", "mode", "said"),
    [
        ("", 0o600, ""),
        (SYSTEM + NEW_GROUP, 0o640, "groupadd --system fer-edge-config\nchgrp fer-edge-config CONFIG\n"),
        (
            SYSTEM + NO_GROUP,
            0o644,
            "install.sh: no group fer-edge-config could be made: every user of this machine can read CONFIG; "
            "keep secrets in files of their own\n",
        ),
    ],
    ids=["without a service", "service with a group", "service without a group"],
)
def test_who_may_read_the_configuration(run, tmp_path: Path, stand_ins: str, mode: int, said: str) -> None:
    """getent, groupadd and chgrp are stood in for: no group of this machine is made."""
    config = tmp_path / "fer-edge.toml"
    config.write_text("password")
    config.chmod(0o666)
    seen = run(f"{stand_ins}protect_configuration", config=str(config))
    assert seen.stdout.replace(str(config), "CONFIG") == said
    assert mode_of(config) == mode


def test_a_configuration_that_is_a_link_is_left_to_whoever_made_it(run, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.toml").write_text("")
    (tmp_path / "elsewhere.toml").chmod(0o664)
    (tmp_path / "fer-edge.toml").symlink_to("elsewhere.toml")
    run("protect_configuration", config=str(tmp_path / "fer-edge.toml"))
    assert mode_of(tmp_path / "elsewhere.toml") == 0o664


# --- the release and the links to it --------------------------------------------------------------------------------


def test_a_release_is_called_by_version_and_digest_and_never_as_one_that_is_kept(run, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/SHA256SUMS").write_text("")
    base = "1.0-e3b0c44298fc"  # SHA-256 of nothing
    for old, previous, expected in (
        ("", "", base),
        (f"releases/{base}", "", f"{base}.2"),
        ("releases/0.9-x", f"releases/{base}", f"{base}.2"),
        (f"releases/{base}.2", f"releases/{base}", f"{base}.3"),
    ):
        seen = run('choose_id; echo "$id $release"', VERSION="1.0", old=old, old_previous=previous)
        assert seen.stdout == f"{expected} {tmp_path}/p/releases/{expected}\n"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Four releases, of which the second is in use and the first is the one before it."""
    prefix = tmp_path / "p"
    for number in "1234":
        folder = prefix / "releases" / number
        folder.mkdir(parents=True)
        (folder / "SHA256SUMS").write_text(f"sums of {number}\n")
    (prefix / "current").symlink_to("releases/2")
    (prefix / "previous").symlink_to("releases/1")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/SHA256SUMS").write_text("sums of 3\n")
    return prefix


def links(prefix: Path) -> dict[str, str]:
    return {path.name: str(path.readlink()) for path in prefix.iterdir() if path.is_symlink()}


IN_USE = {"old": "releases/2", "old_previous": "releases/1", "service": "no"}


def test_a_switch_keeps_the_release_before_and_leaves_no_half_made_link(run, kept: Path) -> None:
    run("switch_to releases/3; echo $switched", **IN_USE)
    assert links(kept) == {"current": "releases/3", "previous": "releases/2"}
    assert {path.name for path in kept.iterdir()} == {"current", "previous", "releases"}


def test_the_same_bundle_built_again_does_not_push_the_release_before_out(run, tmp_path: Path, kept: Path) -> None:
    (tmp_path / "b/SHA256SUMS").write_text("sums of 2\n")
    run("switch_to releases/3", **IN_USE)
    assert links(kept) == {"current": "releases/3", "previous": "releases/1"}
    run("id=3; remove_old_releases", **IN_USE)
    assert {path.name for path in (kept / "releases").iterdir()} == {"1", "3"}


def test_old_releases_go_but_for_the_one_in_use_and_the_one_before(run, kept: Path) -> None:
    run("id=3; remove_old_releases", **IN_USE)
    assert {path.name for path in (kept / "releases").iterdir()} == {"2", "3"}


def test_switching_back_brings_both_links_back(run, kept: Path) -> None:
    run("switch_to releases/3; switch_back; echo $switched", **IN_USE)
    assert links(kept) == {"current": "releases/2", "previous": "releases/1"}


def test_switching_back_where_there_was_one_release_leaves_no_release_before(run, kept: Path) -> None:
    (kept / "previous").unlink()
    run("switch_to releases/3; switch_back", old="releases/2")
    assert links(kept) == {"current": "releases/2"}


@pytest.mark.parametrize("there_before", [False, True], ids=["no unit before", "a unit of another installation"])
def test_a_first_release_that_does_not_come_up_takes_its_links_and_unit_away(
    run, tmp_path: Path, release: Path, there_before: bool
) -> None:
    unit = tmp_path / "units/fer-edge.service"
    if there_before:
        unit.parent.mkdir()
        unit.write_text("of another\n")
    run(f"switch_to releases/1; link_command; install_service '{release}'; switch_back", service="yes")
    assert links(tmp_path / "p") == {}
    assert not list((tmp_path / "bin").iterdir())
    assert unit.exists() == there_before


def test_the_command_is_a_link_to_whatever_release_is_in_use(run, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/fer-edge").write_text("of another program\n")
    run("link_command; link_command")
    assert links(tmp_path / "bin") == {"fer-edge": f"{tmp_path}/p/current/venv/bin/fer-edge"}
    assert len(list((tmp_path / "bin").iterdir())) == 1


@pytest.mark.parametrize(
    ("target", "stays"),
    [
        ("{p}/current/venv/bin/fer-edge", False),
        ("{p}2/current/venv/bin/fer-edge", True),
        ("/usr/bin/true", True),
        (None, True),
    ],
)
def test_only_the_own_link_is_removed(run, tmp_path: Path, target: str | None, stays: bool) -> None:
    (tmp_path / "bin").mkdir()
    link = tmp_path / "bin/fer-edge"
    if target is None:
        link.write_text("a file")
    else:
        link.symlink_to(target.format(p=tmp_path / "p"))
    run("remove_link")
    assert os.path.lexists(link) == stays


# --- the environment of a release -----------------------------------------------------------------------------------

# Writes down the words that the release's python was called with.
NOTING_PYTHON = """python3() {
    echo "python3 $*"; for folder; do :; done; mkdir -p "$folder/bin"
    printf '#!/bin/sh\\necho "$*"\\n' >"$folder/bin/python"; chmod +x "$folder/bin/python"
}
"""
ALWAYS = "-I -m pip --isolated --disable-pip-version-check --no-input --quiet"


def test_packages_come_from_the_bundle_alone_each_with_its_hash(run, tmp_path: Path) -> None:
    """python3 stands in for a virtual environment and says what it was asked."""
    settings = {"release": str(tmp_path / "r"), "python": "3.11", "SYSTEM_SITE_PACKAGES": "no", "ENGINE": "x"}
    made, filled = run(NOTING_PYTHON + "build_venv", **settings).stdout.splitlines()
    assert made == f"python3 -I -m venv {tmp_path}/r/venv"
    assert filled == (
        f"{ALWAYS} install --no-index --no-deps --only-binary :all: --find-links {tmp_path}/b/wheels "
        f"--require-hashes --ignore-installed -r {tmp_path}/b/requirements-3.11.txt"
    )


def test_an_engine_of_the_users_own_takes_the_place_of_the_bundles(run, tmp_path: Path) -> None:
    settings = {
        "release": str(tmp_path / "r"),
        "python": "3.11",
        "SYSTEM_SITE_PACKAGES": "yes",
        "ENGINE": "onnxruntime",
    }
    seen = run(NOTING_PYTHON + "build_venv", **settings, engine_wheel="/given/gpu.whl").stdout.splitlines()
    assert seen[0] == f"python3 -I -m venv --system-site-packages {tmp_path}/r/venv"
    assert seen[2:] == [
        "install.sh: taking onnxruntime from gpu.whl",
        f"{ALWAYS} uninstall --yes onnxruntime",
        f"{ALWAYS} install --no-index --no-deps --only-binary :all: /given/gpu.whl",
    ]


def test_a_release_holds_what_it_runs_with_and_others_can_read_it(run, tmp_path: Path) -> None:
    bundle, there = tmp_path / "b", tmp_path / "r"
    for folder in (bundle / "model", bundle / "wheels", there):
        folder.mkdir(parents=True)
    for name in ("model/net.tflite", "smoke.py", "bundle.env", "SHA256SUMS", "install.sh", "wheels/a.whl"):
        (bundle / name).write_text(name)
        (bundle / name).chmod(0o600)
    (bundle / "fer-edge.toml").write_text('file = "@RELEASE@/model/net.tflite"\n')
    run("umask 077; copy_files", release=str(there))
    names = {path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file()}
    assert names == {"model/net.tflite", "smoke.py", "bundle.env", "SHA256SUMS", "fer-edge.toml"}
    assert (there / "fer-edge.toml").read_text() == f'file = "{tmp_path}/p/current/model/net.tflite"\n'
    assert all(mode_of(path) & 0o044 == 0o044 for path in there.rglob("*"))


MACHINE = """
uname() { echo x86_64; }; getconf() { echo glibc 2.36; }
python3() { case "$*" in *version_info*) echo 3.11 ;; *"$LACKS"*) return 1 ;; esac; }
"""
BUNDLE_OF = {"ARCH": "x86_64", "PYTHONS": "3.11:2.36 3.13:2.41", "SYSTEM_SITE_PACKAGES": "yes", "LACKS": "nothing"}


def test_a_machine_as_the_bundle_asks_for_is_taken_without_a_word(run) -> None:
    """uname, getconf and python3 stand in for a board."""
    assert run(MACHINE + "check_machine", **BUNDLE_OF).stdout == ""


def test_without_picamera2_it_installs_and_says_what_is_lost(run) -> None:
    said = run(MACHINE + "check_machine", **(BUNDLE_OF | {"LACKS": "picamera2"})).stdout
    assert said == (
        "install.sh: no picamera2 here, so no CSI camera (apt install python3-picamera2); USB cameras and files work\n"
    )
    quiet = BUNDLE_OF | {"LACKS": "picamera2", "SYSTEM_SITE_PACKAGES": "no"}
    assert run(MACHINE + "check_machine", **quiet).stdout == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"LACKS": "ensurepip"}, "Python's venv is missing: apt install python3-venv"),
        ({"PYTHONS": "3.13:2.41 3.12:2.39"}, "this bundle is for Python 3.13 3.12, this machine has 3.11."),
        ({"PYTHONS": "3.11:2.37"}, "glibc 2.37 or newer is needed, this machine has 2.36."),
        ({"PYTHONS": "3.11:2.100"}, "glibc 2.100 or newer is needed, this machine has 2.36."),
        ({"ARCH": "aarch64"}, "this bundle is for aarch64, this machine is x86_64. Take another BOARD."),
    ],
)
def test_a_machine_that_lacks_something_is_told_what(run, change: dict[str, str], message: str) -> None:
    assert run(MACHINE + "check_machine", code=2, **(BUNDLE_OF | change)).stderr == f"install.sh: {message}\n"


def test_a_python_that_does_not_start_is_told_from_one_that_is_too_old(run) -> None:
    broken = "uname() { echo x86_64; }; python3() { return 127; }\n"
    assert "no python3 here: apt install python3" in run(broken + "check_machine", code=2, **BUNDLE_OF).stderr


# --- the service ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("enabled", "active", "expected"),
    [
        (False, False, ["daemon-reload", "install.sh: start it at boot with: sudo systemctl enable --now fer-edge"]),
        (True, False, ["daemon-reload", "restart --no-block fer-edge"]),
        (False, True, ["daemon-reload", "restart --no-block fer-edge"]),
    ],
)
def test_a_service_is_started_again_only_where_somebody_uses_it(
    run, enabled: bool, active: bool, expected: list[str]
) -> None:
    """systemctl says what it was asked; wait_for_service has tests of its own."""
    systemctl = f"""systemctl() {{
        case $1 in is-enabled) {str(enabled).lower()} ;; is-active) {str(active).lower()} ;; *) echo "$*" ;; esac
    }}; has_systemd() {{ :; }}; wait_for_service() {{ :; }}"""
    assert run(f"{systemctl}\nrestart_service").stdout.splitlines() == expected


def test_without_systemd_nothing_is_asked_of_it(run) -> None:
    assert run('systemctl() { echo "asked $*"; }; restart_service', service="yes").stdout == ""


def test_uninstall_keeps_the_configuration_unless_it_is_told_to_purge(run, tmp_path: Path, release: Path) -> None:
    installed = f"switch_to releases/1; link_command; install_service '{release}'; touch \"$config\"\n"
    kept = run(f"{installed} mkdir $prefix/.staging.x; uninstall", service="yes").stdout
    config = tmp_path / "p/fer-edge.toml"
    assert f"install.sh: {config} is kept; --purge removes it\n" in kept and kept.endswith("fer-edge is removed\n")
    left = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if not path.is_dir()]
    assert left == ["p/fer-edge.toml"]
    assert "is kept" not in run("uninstall", purge="yes").stdout
    assert not config.exists()


@pytest.mark.parametrize(
    ("previous", "message"),
    [
        (None, "there is no version before"),
        ("releases/2", "there is no version before"),
        ("releases/9", "no version before"),
    ],
    ids=["no link", "the one in use", "a release that is gone"],
)
def test_rolling_back_to_nothing_is_refused_and_changes_nothing(
    run, kept: Path, previous: str | None, message: str
) -> None:
    (kept / "previous").unlink()
    if previous is not None:
        (kept / "previous").symlink_to(previous)
    before = links(kept)
    assert message in run("roll_back", code=2).stderr
    assert links(kept) == before


# --- what is refused before, and undone after -------------------------------------------------------------------------


def test_a_second_installer_is_refused_while_one_is_at_work(run) -> None:
    refused = run('exec 8<"$prefix"; flock 8; action=install; check_place() { :; }; lock; echo went on', code=2)
    assert "another install.sh is at work in" in refused.stderr and refused.stdout == ""


@pytest.mark.parametrize(("free_mb", "code"), [(800, 0), (799, 2)])
def test_800_mb_must_be_free(run, free_mb: int, code: int) -> None:
    """df is stood in for."""
    seen = run(f"df() {{ echo Avail; echo {free_mb * 1024}; }}; check_place", code=code)
    assert ("has 799 MB free, 800 are needed" in seen.stderr) == (code == 2)


@pytest.mark.parametrize(
    ("version", "downgrade", "code"), [("1.0", "no", 2), ("1.0", "yes", 0), ("1.1", "no", 0), ("1.2", "no", 0)]
)
def test_an_older_version_needs_the_word_for_it(run, kept: Path, version: str, downgrade: str, code: int) -> None:
    (kept / "releases/2/bundle.env").write_text('VERSION="1.1"\n')
    seen = run("check_version", code=code, VERSION=version, downgrade=downgrade)
    assert ("version 1.0 is older than 1.1, which is in use. Say --downgrade" in seen.stderr) == (code == 2)


@pytest.mark.parametrize("step", ["build_venv", "copy_files", "smoke"])
def test_a_release_of_which_a_step_fails_is_given_up_before_it_is_in_use(run, kept: Path, step: str) -> None:
    steps = "".join(
        f"{name}() {{ {'false' if name == step else ':'}; }}\n" for name in ("build_venv", "copy_files", "smoke")
    )
    seen = run(f"{steps}fill_release; echo went on", code=4, release=str(kept / "releases/3"), **IN_USE)
    assert seen.stderr.endswith("does not work; nothing was changed, releases/2 stays in use.\n")
    assert seen.stdout == "" and links(kept) == {"current": "releases/2", "previous": "releases/1"}


def test_whatever_ends_the_program_after_the_switch_the_release_before_is_in_use_again(run, kept: Path) -> None:
    script = """trap clean_up EXIT; staging=$prefix/.staging.x unfinished=$prefix/releases/3 made=''
        mkdir "$staging"; switch_to releases/3; touch "$prefix/.current.part"; exit 7"""
    run(script, code=7, **IN_USE)
    assert links(kept) == {"current": "releases/2", "previous": "releases/1"}
    assert {path.name for path in (kept / "releases").iterdir()} == {"1", "2", "4"}
    assert {path.name for path in kept.iterdir()} == {"current", "previous", "releases"}


@pytest.mark.parametrize("broken", ["smoke", "restart_service"])
def test_a_release_that_does_not_come_up_gives_way_to_the_one_before_whose_service_starts_again(
    run, kept: Path, broken: str
) -> None:
    noted = f'smoke() {{ :; }}; restart_service() {{ readlink "$prefix/current" >>"{kept}/note"; }}\n'
    fails = f'{broken}() {{ readlink "$prefix/current" >>"{kept}/note"; return 1; }}\n'
    seen = run(f"{noted}{fails}id=3; switch_to releases/3; check_in_use; echo went on", code=4, **IN_USE)
    assert "3 did not come up; rolled back to releases/2." in seen.stderr and seen.stdout == ""
    assert links(kept) == {"current": "releases/2", "previous": "releases/1"}
    assert (kept / "note").read_text().split() == ["releases/3", "releases/2"]


ROLL_BACK = 'install_service() { echo "unit of $1"; }; smoke() { :; }; restart_service() { echo restarted; }\n'


def test_rolling_back_exchanges_the_releases_with_unit_and_service(run, kept: Path) -> None:
    (kept / "releases/1/bundle.env").write_text('MODEL="m"\n')
    seen = run(f"{ROLL_BACK}roll_back")
    assert seen.stdout.splitlines() == [
        f"unit of {kept}/releases/1",
        "restarted",
        "install.sh: releases/1 is in use again",
    ]
    assert links(kept) == {"current": "releases/1", "previous": "releases/2"}


@pytest.mark.parametrize(
    ("broken", "message", "in_use"),
    [
        ("smoke", "releases/1 does not work either; nothing was changed.", "releases/2"),
        ("restart_service", "releases/1 is in use again, but its service does not start", "releases/1"),
    ],
)
def test_a_roll_back_that_fails_says_which_release_is_in_use(
    run, kept: Path, broken: str, message: str, in_use: str
) -> None:
    (kept / "releases/1/bundle.env").write_text("")
    seen = run(f"{ROLL_BACK}{broken}() {{ return 1; }}\nroll_back", code=4)
    assert message in seen.stderr and links(kept)["current"] == in_use


# --- what is verified -----------------------------------------------------------------------------------------------


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A bundle of two files and their sums, made by sha256sum itself."""
    folder = tmp_path / "sealed"
    (folder / "wheels").mkdir(parents=True)
    for name in ("install.sh", "wheels/a.whl"):
        (folder / name).write_text(name)
    sums = "sha256sum ./install.sh ./wheels/a.whl >SHA256SUMS"
    subprocess.run(["sh", "-c", sums], cwd=folder, check=True)
    return folder


def test_a_whole_bundle_is_taken_and_the_shell_stands_nowhere_in_it_afterwards(run, sealed: Path) -> None:
    assert run(f"verify_bundle '{sealed}' ''; pwd").stdout == "/\n"


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("rm SHA256SUMS", "no SHA256SUMS beside install.sh."),
        ("echo x >>install.sh", "a file is not what it was when it was bundled."),
        ("rm wheels/a.whl", "the bundle's files are not those SHA256SUMS lists."),
        ("touch wheels/b.whl", "the bundle's files are not those SHA256SUMS lists."),
        ("sed -i 2d SHA256SUMS", "the bundle's files are not those SHA256SUMS lists."),
        ("sed -i '2{p}' SHA256SUMS", "the bundle's files are not those SHA256SUMS lists."),
        ("ln -s /etc/passwd wheels/b.whl", "the bundle holds something that is neither file nor folder."),
        ("mkfifo wheels/b.whl", "the bundle holds something that is neither file nor folder."),
        ("sed -i 's|  ./| */|' SHA256SUMS", "SHA256SUMS is damaged."),
        ("sed -i 's|^|\\\\|' SHA256SUMS", "SHA256SUMS is damaged."),
        ("echo >>SHA256SUMS", "SHA256SUMS is damaged."),
    ],
)
def test_a_bundle_that_came_to_harm_is_refused_with_the_reason(run, sealed: Path, harm: str, message: str) -> None:
    subprocess.run(["sh", "-c", harm], cwd=sealed, check=True)
    refused = run(f"verify_bundle '{sealed}' ''; echo taken", code=2)
    assert f"install.sh: {message}" in refused.stderr
    assert "taken" not in refused.stdout


def test_a_signature_that_cannot_be_checked_is_said_and_one_that_must_be_is_refused(run, sealed: Path) -> None:
    """`command` stands in for a board without ssh-keygen."""
    (sealed / "SHA256SUMS.sig").write_text("signature")
    (sealed / "signers").write_text("")
    lacking = "command() { return 1; }\n"
    said = run(f"{lacking}cd '{sealed}'; verify_signature ''").stdout
    assert said == "install.sh: signature not checked: no ssh-keygen here\n"
    refused = run(f"{lacking}cd '{sealed}'; verify_signature '{sealed}/signers'", code=2)
    assert "--signers needs ssh-keygen: apt install openssh-client" in refused.stderr


def test_the_copy_that_is_checked_lies_where_nobody_else_can_write_and_holds_what_was_given(
    run, tmp_path: Path
) -> None:
    """verify_bundle is left out: it has tests of its own."""
    bundle, prefix = tmp_path / "b", tmp_path / "p"
    for folder in (bundle, prefix / ".staging.of-a-killed-run"):
        folder.mkdir(parents=True)
    (bundle / "SHA256SUMS").write_text("")
    (tmp_path / "signers").write_text("who")
    script = 'verify_bundle() { echo "$1 $2"; cat "$2"; }\nstage; echo; echo "$here"; stat -c %a "$staging"'
    lines = run(script, signers=str(tmp_path / "signers")).stdout.splitlines()
    (staging,) = prefix.glob(".staging.*")
    assert lines == [f"{staging}/bundle {staging}/given/signers", "who", f"{staging}/bundle", "700"]
