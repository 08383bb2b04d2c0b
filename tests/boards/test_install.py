"""install.sh on a small bundle: whom it trusts, what a failure at any step leaves, what uninstall leaves behind."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from fer_edge.detectors import DATA

from boards.bundle.archive import sign
from tests.boards.tiny_bundle import (
    PYTHON,
    SMOKE,
    UNIT,
    copying_python,
    environment_without_python,
    install,
    make_tiny_bundle,
    output_of,
    programs,
    seal,
    version_in,
)
from tests.conftest import ROOT

# Each installs for real: a second or more.
pytestmark = pytest.mark.slow
SCRIPTS = (
    "boards/bundle/install.sh",
    "boards/bundle/verify.sh",
    "boards/fleet/roles/fer_edge/files/check_bundle.sh",
)


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return make_tiny_bundle(tmp_path / "first", "1.0")


@pytest.fixture
def second(tmp_path: Path) -> Path:
    return make_tiny_bundle(tmp_path / "second", "1.1")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def succeeds(bundle: Path, target: Path, *words: str, steps: Path | None = None) -> str:
    finished = install(bundle, target, *words, steps=steps or copying_python())
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def refused(bundle: Path, target: Path, *words: str) -> str:
    finished = install(bundle, target, *words, steps=copying_python())
    assert finished.returncode == 2, finished.stdout + finished.stderr
    return finished.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck (apt install shellcheck)")
def test_the_scripts_pass_shellcheck() -> None:
    command = ["shellcheck", "--external-sources", *SCRIPTS]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert finished.returncode == 0, finished.stdout


# --- the machine's own settings ------------------------------------------------------------------------------------


def test_settings_of_the_machine_for_pip_python_and_the_shell_do_not_count(
    first: Path, target: Path, tmp_path: Path
) -> None:
    (tmp_path / "hostile").mkdir()
    for module in ("sitecustomize", "venv", "ensurepip", "pip", "fer_edge", "json"):
        ran = f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit(9)\n"
        (tmp_path / "hostile" / f"{module}.py").write_text(ran)
    (tmp_path / "configured/pip").mkdir(parents=True)
    (tmp_path / "configured/pip/pip.conf").write_text("[global]\nno-binary = :all:\n[install]\nuser = true\n")
    settings = {
        "PIP_USER": "1",
        "PIP_TARGET": str(tmp_path / "elsewhere"),
        "PIP_NO_BINARY": ":all:",
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
        "PIP_CONFIG_FILE": str(tmp_path / "configured/pip/pip.conf"),
        "XDG_CONFIG_DIRS": str(tmp_path / "configured"),
        "PYTHONPATH": str(tmp_path / "hostile"),
        "PYTHONHOME": "/nowhere",
        "CDPATH": "/tmp:/usr",
    }
    finished = install(first, target, settings=settings)  # a venv of its own is made here, none is copied
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert version_in(target) == "1.0"
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "elsewhere").exists()


def test_what_is_installed_can_be_read_by_others_whatever_the_umask(first: Path, target: Path) -> None:
    before = os.umask(0o077)
    try:
        succeeds(first, target)
    finally:
        os.umask(before)
    for path in (
        "fer-edge/current/smoke.py",
        "fer-edge/current/venv/bin/fer-edge",
        "fer-edge/current/model/net.tflite",
    ):
        assert (target / path).stat().st_mode & stat.S_IROTH, path
    program = (target / "fer-edge/current/venv/bin/fer-edge").resolve()
    for folder in (target / "bin", *(one for one in program.parents if target in one.parents)):
        assert folder.stat().st_mode & stat.S_IXOTH, f"{folder} cannot be entered"


@pytest.mark.parametrize(
    ("program", "says", "message"),
    [
        ("df", "echo Avail; echo 102400", "has 100 MB free, 800 are needed"),
        ("uname", "echo riscv64", "this machine is riscv64"),
        ("getconf", "echo glibc 2.16", "glibc 2.17 or newer is needed, this machine has 2.16"),
        ("getconf", "exit 1", "this system has another C library"),
    ],
)
def test_a_machine_that_cannot_run_it_is_refused_and_nothing_is_left(
    first: Path, target: Path, tmp_path: Path, program: str, says: str, message: str
) -> None:
    finished = install(first, target, steps=programs(tmp_path / "steps", says, program))
    assert finished.returncode == 2
    assert message in finished.stderr
    assert not target.exists()


def test_a_python_the_bundle_has_no_wheels_for_is_refused_and_those_it_has_are_named(first: Path, target: Path) -> None:
    facts = (first / "bundle.env").read_text()
    (first / "bundle.env").write_text(facts.replace(f"{PYTHON}:2.17", "3.7:2.17 3.8:2.17"))
    seal(first)
    assert f"this bundle is for Python 3.7 3.8, this machine has {PYTHON}." in refused(first, target)
    assert not target.exists()


def test_a_relative_place_is_refused(first: Path, target: Path) -> None:
    finished = install(first, target, "--config", "fer-edge.toml")
    assert finished.returncode == 2
    assert "--config fer-edge.toml: expected an absolute path." in finished.stderr
    assert not target.exists()


@pytest.mark.parametrize("name", ["with a blank", "Küche", "50 %, a+b=c@d_e"])
def test_odd_letters_in_prefix_bundle_and_programs_folder(tmp_path: Path, name: str) -> None:
    bundle = make_tiny_bundle(tmp_path / name / "bundle")
    target = tmp_path / name / "installed"
    succeeds(bundle, target)
    assert version_in(target) == "1.0"
    assert output_of(target / "bin/fer-edge") == "fer-edge 1.0\n"
    assert f'file = "{target}/fer-edge/current/model/net.tflite"' in (target / "fer-edge/fer-edge.toml").read_text()
    succeeds(bundle, target, "uninstall", "--purge")
    assert not (target / "fer-edge").exists()


@pytest.mark.parametrize("letter", [*":\"$\\`&|;()<>*?[]'#!~{}^\n"])
def test_a_letter_no_environment_can_live_with_is_refused_at_once(first: Path, tmp_path: Path, letter: str) -> None:
    assert "pip cannot write a program into a path" in refused(first, tmp_path / f"a{letter}b")
    assert not (tmp_path / f"a{letter}b").exists()


def test_a_bundle_in_a_folder_with_a_line_break_installs(tmp_path: Path, target: Path) -> None:
    succeeds(make_tiny_bundle(tmp_path / "a\nb" / "bundle"), target)


# --- whom it trusts ------------------------------------------------------------------------------------------------


def test_a_file_that_is_rewritten_after_the_check_is_not_installed(first: Path, target: Path, tmp_path: Path) -> None:
    """Somebody who owns the bundle's folder waits for the check and then rewrites every file."""
    files = "smoke.py bundle.env fer-edge.service"
    rewrite = f'''"$REAL" "$@" || exit
        [ "$1" != --check ] || for file in {files}; do echo "exit(0) # evil" >"{first}/$file"; done'''
    steps = programs(tmp_path / "steps", rewrite, "sha256sum")
    succeeds(first, target, steps=steps)
    assert "evil" in (first / "smoke.py").read_text()
    release = target / "fer-edge/current"
    assert (release / "smoke.py").read_text() == SMOKE
    assert "evil" not in (release / "bundle.env").read_text() + (release / "fer-edge.service").read_text()


def test_the_copy_that_is_checked_is_nobody_elses(first: Path, target: Path, tmp_path: Path) -> None:
    note = tmp_path / "modes"
    look = f'[ "$1" != --check ] || stat -c %a "$PWD/.." >"{note}"; exec "$REAL" "$@"'
    succeeds(first, target, steps=programs(tmp_path / "steps", look, "sha256sum"))
    assert note.read_text() == "700\n"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True)
    return path


@pytest.mark.parametrize(
    "lines",
    [
        'git@example namespaces="git" {key}\nrelease@example {key}\n',
        'old@example valid-before="20200101" {key}\nrelease@example {key}\n',
        "# who may sign\n\n*@elsewhere,release@example {key}",
        '"a name with blanks" {key}\n',
    ],
    ids=["other namespace first", "expired first", "list of names", "quoted"],
)
def test_a_signer_is_found_on_any_line(first: Path, target: Path, tmp_path: Path, key: Path, lines: str) -> None:
    sign(first / "SHA256SUMS", key)
    public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    (tmp_path / "signers").write_text(lines.format(key=public))
    assert "signed by" in succeeds(first, target, "--signers", str(tmp_path / "signers"))


def test_a_key_that_may_sign_only_something_else_is_refused(
    first: Path, target: Path, tmp_path: Path, key: Path
) -> None:
    sign(first / "SHA256SUMS", key)
    public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    (tmp_path / "signers").write_text(f'git@example namespaces="git" {public}\n')
    assert "does not fit" in refused(first, target, "--signers", str(tmp_path / "signers"))
    assert not target.exists()


# --- older, newer, the same ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("in_use", "other"),
    [("1.1", "1.0"), ("1.10", "1.9"), ("1.0", "1.0rc1"), ("1.0rc1", "1.0b2"), ("1.0a1", "1.0.dev3")],
)
def test_an_older_version_needs_the_word(tmp_path: Path, target: Path, in_use: str, other: str) -> None:
    newer, older = make_tiny_bundle(tmp_path / "newer", in_use), make_tiny_bundle(tmp_path / "older", other)
    succeeds(newer, target)
    assert f"version {other} is older than {in_use}" in refused(older, target)
    assert version_in(target) == in_use
    succeeds(older, target, "--downgrade")
    assert version_in(target) == other
    succeeds(newer, target)
    assert version_in(target) == in_use


def test_a_release_in_use_that_came_to_harm_is_replaced_and_the_one_before_is_kept(
    first: Path, second: Path, target: Path
) -> None:
    succeeds(first, target)
    succeeds(second, target)
    (target / "fer-edge/current/smoke.py").unlink()
    succeeds(second, target)
    assert (version_in(target), version_in(target, "previous")) == ("1.1", "1.0")
    assert "is installed already" in succeeds(second, target)


def test_a_new_build_of_the_release_in_use_that_fails_leaves_it(first: Path, target: Path, tmp_path: Path) -> None:
    succeeds(first, target)
    (target / "fer-edge/current/smoke.py").unlink()
    no_venv = 'case $* in *"-m venv "*) exit 1;; *) exec "$REAL" "$@";; esac'
    steps = programs(tmp_path / "steps", no_venv, "python3")
    assert install(first, target, steps=steps).returncode == 4
    assert version_in(target) == "1.0"


def test_two_installers_do_not_work_at_once(first: Path, second: Path, target: Path) -> None:
    succeeds(first, target)
    with subprocess.Popen(
        ["flock", str(target / "fer-edge"), "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin and holder.stdout
        holder.stdin.write(b"x\n")
        holder.stdin.flush()
        holder.stdout.readline()
        assert "another install.sh is at work" in refused(second, target)
    assert version_in(target) == "1.0"


# --- a power cut, or a failure, at any step ------------------------------------------------------------------------

# FER_EDGE_EVERY=1 tries every step, which takes minutes.
EVERY = int(os.environ.get("FER_EDGE_EVERY", "3"))
STEPS = (
    *("cp", "mkdir", "mktemp", "mv", "ln", "rm", "sed", "chmod", "sync", "find", "sha256sum", "cut", "cmp", "grep"),
    *("readlink", "head", "sort", "tail", "dirname", "df", "getconf", "uname", "python3", "realpath"),
)


# An environment without Python: what counts here is the order of install.sh's steps, and there are hundreds of runs.
STUB_ENVIRONMENT = """
case $* in "-I -m venv "*)
    mkdir -p "$4/bin"
    printf '%s\\n' '#!/bin/sh' 'case "$*" in *"-m pip"*) ;; *) exec '"$REAL"' "$@" ;; esac' \\
        'for last; do :; done' 'version=$(sed -n "s/.*==\\([^ ]*\\) .*/\\1/p" "$last")' \\
        'printf "#!/bin/sh\\necho fer-edge %s\\n" "$version" >"${0%/*}/fer-edge"; chmod +x "${0%/*}/fer-edge"' \\
        >"$4/bin/python"
    exec chmod +x "$4/bin/python" ;;
esac"""


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """Programs that count the steps of install.sh and, at step $AT, end it ($HOW is kill) or fail ($HOW is fail)."""
    script = f"""\
printf . >>"{tmp_path}/count"
if [ "$(wc -c <"{tmp_path}/count")" = "$AT" ]; then
    [ "$HOW" = fail ] || kill -9 $(cat "{tmp_path}/pid")
    exit 1
fi
{STUB_ENVIRONMENT}
exec "$REAL" "$@\""""
    return programs(tmp_path / "steps", script, *STEPS)


def run_to_step(bundle: Path, target: Path, steps: Path, at: int, how: str) -> subprocess.CompletedProcess[str]:
    folder = steps.parent
    (folder / "count").write_text("")
    command = ["sh", "-c", f'echo $$ >"{folder}/pid"; exec sh "$@"', "sh", str(bundle / "install.sh")]
    command += ["--prefix", str(target / "fer-edge"), "--bin", str(target / "bin"), "--no-service"]
    environment = {"PATH": f"{steps}:{os.environ['PATH']}", "AT": str(at), "HOW": how, "HOME": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def restore(saved: Path, target: Path) -> None:
    shutil.rmtree(target)
    subprocess.run(["cp", "-a", str(saved), str(target)], check=True)


def check_still_usable(target: Path, step: str) -> None:
    """The release in use runs, the one to go back to runs, and each is the one that the records name."""
    for link in ("current", "previous"):
        assert (target / "fer-edge" / link).is_dir(), (step, link)
        assert version_in(target, link) in ("0.9", "1.0", "1.1"), (step, link)
    assert subprocess.run([target / "bin/fer-edge"], capture_output=True).returncode == 0, step


@pytest.mark.timeout(900)
@pytest.mark.parametrize("same", [False, True], ids=["upgrade", "same release again"])
def test_at_every_step_a_release_that_runs_is_in_use(tmp_path: Path, target: Path, counted: Path, same: bool) -> None:
    first = make_tiny_bundle(tmp_path / "first", "1.0", smoke="print()")
    second = make_tiny_bundle(tmp_path / "second", "1.1", smoke="print()")
    for bundle in (make_tiny_bundle(tmp_path / "oldest", "0.9", smoke="print()"), first):
        assert run_to_step(bundle, target, counted, 0, "").returncode == 0
    if same:  # the release in use no longer passes, so it is built again
        with (target / "fer-edge/current/smoke.py").open("w") as file:
            file.write("raise SystemExit(1)\n")
    bundle = first if same else second
    saved = tmp_path / "saved"
    subprocess.run(["cp", "-a", str(target), str(saved)], check=True)
    finished = run_to_step(bundle, target, counted, 0, "kill")
    assert finished.returncode == 0, finished.stderr
    steps = len((tmp_path / "count").read_text())
    assert steps > 40
    for step in range(1 + same, steps + 1, EVERY):
        how = ("kill", "fail")[step % 2] if same else ("fail", "kill")[step % 2]
        restore(saved, target)
        run_to_step(bundle, target, counted, step, how)
        check_still_usable(target, f"{how} at step {step} of {steps}")
    assert run_to_step(bundle, target, counted, 0, "").returncode == 0
    assert version_in(target) == ("1.0" if same else "1.1")
    assert not list((target / "fer-edge").glob(".*"))
    assert len(list((target / "fer-edge/releases").iterdir())) == 2


@pytest.mark.parametrize("knows_one_disk", [True, False], ids=["sync of coreutils", "sync that knows no -f"])
def test_a_release_is_on_the_disk_before_it_is_in_use(
    first: Path, second: Path, target: Path, tmp_path: Path, knows_one_disk: bool
) -> None:
    """Or a power cut would find a link to files that were never written."""
    succeeds(first, target)
    current, notes = target / "fer-edge/current", tmp_path / "notes"
    before = str(current.readlink())
    note = f"""echo "$* $(readlink '{current}')" >>'{notes}'; [ $# = 0 ] || {str(knows_one_disk).lower()}"""
    steps = programs(tmp_path / "steps", note, "sync")
    shutil.copy(copying_python() / "python3", steps)
    succeeds(second, target, steps=steps)
    of_release, of_all = f"-f {current.resolve()} {before}", f" {before}"
    assert notes.read_text().splitlines() == [of_release, *([] if knows_one_disk else [of_all])]


def test_while_it_is_upgraded_the_program_can_be_started_at_any_moment(
    first: Path, second: Path, target: Path, tmp_path: Path
) -> None:
    succeeds(first, target)
    links = f"'{target}/fer-edge/current/venv/bin/fer-edge' '{target}/bin/fer-edge'"
    look = f"""for link in {links}; do [ -x "$link" ] || echo "$link before ${{0##*/}} $*" >>'{tmp_path}/gone'; done"""
    steps = programs(tmp_path / "steps", f'{look}\nexec "$REAL" "$@"', *STEPS)
    (steps / "python3").write_text(f"#!/bin/sh\n{look}\nexec '{copying_python() / 'python3'}' \"$@\"\n")
    succeeds(second, target, steps=steps)
    assert version_in(target) == "1.1"
    assert not (tmp_path / "gone").exists(), (tmp_path / "gone").read_text()


@pytest.mark.parametrize("earlier", [(), ("0.9", "1.0")], ids=["first installation", "upgrade"])
def test_after_a_power_cut_behind_the_switch_the_same_bundle_completes_the_installation(
    target: Path, tmp_path: Path, earlier: tuple[str, ...]
) -> None:
    units = ("--units", str(tmp_path / "units"))
    for version in earlier:
        succeeds(make_tiny_bundle(tmp_path / version, version), target, *units)
    bundle = make_tiny_bundle(tmp_path / "new", "1.1", unit=UNIT.replace("--quiet", "--quiet --new-flag"))
    cut = 'case $* in */current) "$REAL" "$@"; kill -9 $PPID ;; *) exec "$REAL" "$@" ;; esac'
    steps = programs(tmp_path / "steps", cut, "mv")
    shutil.copy(copying_python() / "python3", steps)
    assert install(bundle, target, *units, steps=steps).returncode == -9
    assert version_in(target) == "1.1"
    assert "is installed already" in succeeds(bundle, target, *units)
    assert output_of(target / "bin/fer-edge") == "fer-edge 1.1\n"
    assert "--new-flag" in (tmp_path / "units/fer-edge.service").read_text()
    assert len(list((target / "fer-edge/releases").iterdir())) == min(len(earlier) + 1, 2)


def test_a_first_installation_that_fails_leaves_nothing(tmp_path: Path, target: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "bad", smoke="raise SystemExit('smoke run: no')\n")
    assert install(bundle, target).returncode == 4
    assert not target.exists()


# --- back to the release before -------------------------------------------------------------------------------------

FAILS_IN_USE = "import sys\nraise SystemExit(sys.argv[1].endswith('/current'))\n"


def test_a_release_that_fails_once_it_is_in_use_leaves_all_as_it_was(
    first: Path, second: Path, target: Path, tmp_path: Path
) -> None:
    units = ("--units", str(tmp_path / "units"))
    succeeds(first, target, *units)
    succeeds(second, target, *units)
    unit = (tmp_path / "units/fer-edge.service").read_text()
    changed = UNIT.replace("--quiet", "--quiet --new-flag")
    third = make_tiny_bundle(tmp_path / "third", "1.2", smoke=FAILS_IN_USE, unit=changed)
    finished = install(third, target, *units, steps=copying_python())
    assert finished.returncode == 4
    assert "did not come up; rolled back to releases/1.1-" in finished.stderr
    assert (version_in(target), version_in(target, "previous")) == ("1.1", "1.0")
    assert (tmp_path / "units/fer-edge.service").read_text() == unit
    assert len(list((target / "fer-edge/releases").iterdir())) == 2


def test_what_was_rolled_back_from_can_be_gone_back_to(first: Path, second: Path, target: Path) -> None:
    succeeds(first, target)
    succeeds(second, target)
    succeeds(second, target, "rollback")
    assert (version_in(target), version_in(target, "previous")) == ("1.0", "1.1")
    succeeds(second, target, "rollback")
    assert (version_in(target), version_in(target, "previous")) == ("1.1", "1.0")


def test_a_roll_back_to_a_release_that_came_to_harm_is_refused(first: Path, second: Path, target: Path) -> None:
    succeeds(first, target)
    succeeds(second, target)
    (target / "fer-edge/previous/smoke.py").write_text("raise SystemExit(1)\n")
    finished = install(second, target, "rollback")
    assert finished.returncode == 4
    assert "does not work either; nothing was changed" in finished.stderr
    assert (version_in(target), version_in(target, "previous")) == ("1.1", "1.0")


# --- configuration and unit ----------------------------------------------------------------------------------------


def test_the_configuration_is_the_owners_alone_without_a_service(first: Path, target: Path) -> None:
    succeeds(first, target)
    configuration = target / "fer-edge/fer-edge.toml"
    assert stat.S_IMODE(configuration.stat().st_mode) == 0o600
    configuration.chmod(0o644)  # as an earlier version wrote it
    configuration.write_text("# mine\n")
    (first / "README.txt").write_text("a later build")
    seal(first)
    succeeds(first, target)
    assert (stat.S_IMODE(configuration.stat().st_mode), configuration.read_text()) == (0o600, "# mine\n")


def test_a_configuration_with_passwords_is_nobody_elses_while_it_is_copied(
    first: Path, target: Path, tmp_path: Path
) -> None:
    """Before it has its name and its mode: a copy that others can read for a moment is read by who waits for it."""
    seen = tmp_path / "modes"
    script = f"""\
case "$*" in *fer-edge.toml.part*)
    for word; do [ ! -f "$word" ] || stat -c %a "$word" >>"{seen}"; done ;;
esac
exec "$REAL" "$@\""""
    (first / "fer-edge.toml").chmod(0o644)
    succeeds(first, target, steps=programs(tmp_path / "watched", script, "mv"))
    assert seen.read_text().split() == ["600"]


def test_a_wheel_without_a_hash_is_not_installed(first: Path, target: Path) -> None:
    """Checksums of the bundle say that it is whole; the hashes in its requirements say which wheels were meant."""
    (requirements,) = first.glob("requirements-*.txt")
    requirements.write_text(requirements.read_text().split(" --hash")[0] + "\n")
    seal(first)
    finished = install(first, target)
    assert finished.returncode != 0
    assert "hash" in (finished.stdout + finished.stderr).lower()
    assert not (target / "fer-edge/current").exists()


def test_roll_back_brings_the_unit_of_that_release_back(first: Path, target: Path, tmp_path: Path) -> None:
    units = tmp_path / "units"
    second = make_tiny_bundle(tmp_path / "second", "1.1", unit=UNIT.replace("--quiet", "--quiet --new-flag"))
    succeeds(first, target, "--units", str(units))
    old = (units / "fer-edge.service").read_text()
    succeeds(second, target, "--units", str(units))
    assert "--new-flag" in (units / "fer-edge.service").read_text()
    succeeds(second, target, "rollback", "--units", str(units))
    assert (units / "fer-edge.service").read_text() == old


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (apt install systemd)")
def test_a_unit_with_odd_letters_in_its_paths_is_one_systemd_reads(tmp_path: Path) -> None:
    unit = (DATA / "fer-edge.service").read_text()
    target = tmp_path / "50 % of my apps, ü"
    succeeds(make_tiny_bundle(tmp_path / "bundle", unit=unit), target, "--units", str(target / "units"))
    command = ["systemd-analyze", "verify", str(target / "units/fer-edge.service")]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert "fer-edge.service" not in finished.stderr, finished.stderr


def test_uninstall_leaves_the_unit_of_another_installation(first: Path, tmp_path: Path) -> None:
    units = ("--units", str(tmp_path / "units"))
    succeeds(first, tmp_path / "a", *units)
    succeeds(first, tmp_path / "b", *units)
    succeeds(first, tmp_path / "a", "uninstall", *units)
    assert str(tmp_path / "b") in (tmp_path / "units/fer-edge.service").read_text()
    succeeds(first, tmp_path / "b", "uninstall", *units)
    assert not (tmp_path / "units/fer-edge.service").exists()


def test_uninstall_leaves_the_command_of_another_installation_and_keeps_the_configuration(
    first: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        succeeds(first, tmp_path / name, "--bin", str(tmp_path / "bin"))
    assert "is kept; --purge removes it" in succeeds(first, tmp_path / "a", "uninstall", "--bin", str(tmp_path / "bin"))
    assert (tmp_path / "a/fer-edge/fer-edge.toml").is_file()
    assert output_of(tmp_path / "bin/fer-edge") == "fer-edge 1.0\n"
    succeeds(first, tmp_path / "b", "uninstall", "--purge", "--bin", str(tmp_path / "bin"))
    assert not os.path.lexists(tmp_path / "bin/fer-edge")
    assert not (tmp_path / "b/fer-edge").exists()


# --- as root, in the places of a board -----------------------------------------------------------------------------


def as_root(tmp_path: Path, script: str) -> str:
    """Run a script as root over copies of /etc, /opt, /usr/local and /var that are forgotten afterwards."""
    if os.geteuid() != 0:
        pytest.skip("needs root: the installer writes to /etc, /opt and /var")
    (tmp_path / "layers").mkdir()
    mounts = f"mount -t tmpfs none '{tmp_path}/layers' || exit 77\n"
    for number, folder in enumerate(("/etc", "/opt", "/usr/local", "/var")):
        upper, work = f"{tmp_path}/layers/{number}/u", f"{tmp_path}/layers/{number}/w"
        mounts += f"mkdir -p '{upper}' '{work}'\n"
        mounts += f"mount -t overlay -o 'lowerdir={folder},upperdir={upper},workdir={work}' none {folder} || exit 77\n"
    command = ["unshare", "--mount", "sh", "-c", f"{mounts} set -eu\n{script}"]
    finished = subprocess.run(command, capture_output=True, text=True, cwd="/", env=environment_without_python())
    if finished.returncode == 77:
        pytest.skip(f"overlays cannot be mounted here: {finished.stderr.strip()}")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def test_the_service_alone_can_read_the_configuration(first: Path, tmp_path: Path) -> None:
    seen = as_root(tmp_path, f"""
        echo '# of an earlier version' >/tmp/fer-edge-test.$$; mkdir -p /etc/fer-edge
        mv /tmp/fer-edge-test.$$ /etc/fer-edge/fer-edge.toml; chmod 644 /etc/fer-edge/fer-edge.toml
        sh '{first}/install.sh' >/dev/null
        stat -c '%a %U %G' /etc/fer-edge/fer-edge.toml
        grep SupplementaryGroups /etc/systemd/system/fer-edge.service
        rm /etc/fer-edge/fer-edge.toml; sh '{first}/install.sh' uninstall >/dev/null; sh '{first}/install.sh' >/dev/null
        stat -c '%a %U %G' /etc/fer-edge/fer-edge.toml
    """)  # fmt: skip
    expected = "640 root fer-edge-config"
    assert seen.splitlines() == [expected, "SupplementaryGroups=video fer-edge-config", expected]


# The service of release 1.1 ends at once. What changes something is noted with the release in use at that moment.
SYSTEMCTL = """
version=$(/usr/local/bin/fer-edge 2>&1) || version=none
case "$*" in
    is-*) ;;
    *SubState*) case $version in *1.1) echo failed ;; *) echo running ;; esac ;;
    *ExecMainStatus*) echo 1 ;;
    *) echo "$* $version" >>"$NOTES" ;;
esac
"""


def test_the_service_is_started_again_after_an_upgrade_that_fails_and_after_a_roll_back(
    first: Path, second: Path, tmp_path: Path
) -> None:
    oldest, notes = make_tiny_bundle(tmp_path / "oldest", "0.9"), tmp_path / "notes"
    (tmp_path / "steps").mkdir()
    for name, script in (("systemctl", SYSTEMCTL), ("sleep", "")):
        (tmp_path / "steps" / name).write_text(f"#!/bin/sh\n{script}")
        (tmp_path / "steps" / name).chmod(0o755)
    said = as_root(tmp_path, f"""
        mount -t tmpfs none /run; mkdir -p /run/systemd/system
        export NOTES='{notes}' PATH='{tmp_path}/steps:{copying_python()}':"$PATH"
        sh '{oldest}/install.sh'; sh '{first}/install.sh'; : >"$NOTES"
        ! sh '{second}/install.sh' 2>&1
        sh '{first}/install.sh' rollback; fer-edge
    """)  # fmt: skip
    assert "1.1-" in said and "did not come up; rolled back to releases/1.0-" in said
    assert said.endswith("is in use again\nfer-edge 0.9\n")
    reloaded = ("daemon-reload", "restart --no-block fer-edge")
    assert notes.read_text().splitlines() == [
        f"{command} fer-edge {version}" for version in ("1.1", "1.0", "0.9") for command in reloaded
    ]


def test_purge_leaves_nothing(first: Path, tmp_path: Path) -> None:
    seen = as_root(tmp_path, f"""
        list() {{ find /etc /opt /usr/local /var -xdev -path '*fer-edge*' | sort; grep fer-edge /etc/group || true; }}
        before=$(list)
        sh '{first}/install.sh' >/dev/null
        mkdir -p /var/lib/private/fer-edge /var/cache/private/fer-edge /etc/systemd/system/fer-edge.service.d
        ln -s private/fer-edge /var/lib/fer-edge; ln -s private/fer-edge /var/cache/fer-edge
        echo x >/var/lib/private/fer-edge/faces.jsonl; echo secret >/etc/fer-edge/token
        mkdir -p /etc/credstore; echo secret >/etc/credstore/fer-edge.web-token
        [ "$(list)" != "$before" ]
        sh '{first}/install.sh' uninstall --purge >/dev/null
        if [ "$(list)" = "$before" ]; then echo nothing left; else list; fi
    """)  # fmt: skip
    assert seen == "nothing left\n"
