#!/bin/sh
# Install, upgrade, roll back or remove fer-edge on this board. Nothing is downloaded.
#
#   ./install.sh [install|rollback|uninstall] [--prefix DIR] [--bin DIR] [--config FILE] [--units DIR]
#                [--signers FILE] [--engine-wheel FILE] [--no-service] [--purge]
#
# PREFIX/releases/<id>   one folder a release, with its own venv
# PREFIX/current         link to the release in use; PREFIX/previous to the one before
#
# The whole file is one function, so that a copy that was cut off does nothing.
set -eu

main() {
    umask 022 # the service runs as a user of its own, who must be able to read all this
    defaults
    parse "$@"
    case $action in
        install) install_release ;;
        rollback) roll_back ;;
        uninstall) uninstall ;;
    esac
}

say() { echo "install.sh: $*"; }
fail() { echo "install.sh: $*" >&2; exit "${code:-2}"; }

defaults() {
    action=install signers='' engine_wheel='' service=yes purge=no config='' units='' bin='' prefix=''
    here=$(cd "$(dirname "$0")" && pwd)
    if [ "$(id -u)" -eq 0 ]; then
        prefix=/opt/fer-edge bin=/usr/local/bin units=/etc/systemd/system
    else
        prefix=${XDG_DATA_HOME:-$HOME/.local/share}/fer-edge bin=$HOME/.local/bin units='' service=no
    fi
}

parse() {
    case ${1:-} in install | rollback | uninstall) action=$1; shift ;; esac
    while [ $# -gt 0 ]; do
        case $1 in
            --no-service) service=no; shift; continue ;;
            --purge) purge=yes; shift; continue ;;
            --prefix | --bin | --config | --units | --signers | --engine-wheel) ;;
            *) fail "unknown argument $1. See the head of this file." ;;
        esac
        [ $# -ge 2 ] || fail "$1 needs a value."
        case $1 in
            --prefix) prefix=$2 ;;
            --bin) bin=$2 ;;
            --config) config=$2 ;;
            --units) units=$2 service=yes ;;
            --signers) signers=$(realpath "$2") ;;
            --engine-wheel) engine_wheel=$(realpath "$2") ;;
        esac
        shift 2
    done
    case $prefix in /*) ;; *) fail "--prefix $prefix: expected an absolute path." ;; esac
    [ -n "$config" ] || if [ "$prefix" = /opt/fer-edge ]; then config=/etc/fer-edge/fer-edge.toml; else config=$prefix/fer-edge.toml; fi
}

# --- before anything is changed ------------------------------------------------------------------------------------

verify() {
    cd "$here"
    [ -f SHA256SUMS ] || fail "no SHA256SUMS beside install.sh. Copy the bundle again."
    verify_signature
    # sha256sum takes capitals and other separators too; one spelling only, so that no byte of the list can change.
    if grep -qvE '^[0-9a-f]{64}  \./[A-Za-z0-9._+/-]+$' SHA256SUMS; then
        fail "SHA256SUMS is damaged. Copy the bundle again."
    fi
    [ -z "$(find . ! -type f ! -type d)" ] || fail "the bundle holds something that is neither file nor folder. Copy it again."
    listed=$(cut -c67- SHA256SUMS | LC_ALL=C sort)
    present=$(find . -type f ! -path ./SHA256SUMS ! -path ./SHA256SUMS.sig | LC_ALL=C sort)
    [ "$listed" = "$present" ] || fail "the bundle's files are not those SHA256SUMS lists. Copy the bundle again."
    sha256sum --check --strict --quiet SHA256SUMS || fail "a file is not what it was when it was bundled. Copy it again."
}

verify_signature() {
    if [ -z "$signers" ]; then
        [ -f SHA256SUMS.sig ] || return 0
        command -v ssh-keygen >/dev/null || { say "signature not checked: no ssh-keygen here"; return 0; }
        ssh-keygen -Y check-novalidate -n fer-edge -s SHA256SUMS.sig <SHA256SUMS >/dev/null 2>&1 ||
            fail "the signature does not fit SHA256SUMS. Copy the bundle again."
        say "signed, but by whom was not checked; --signers FILE does"
        return 0
    fi
    [ -f "$signers" ] || fail "--signers $signers: not found."
    [ -f SHA256SUMS.sig ] || fail "--signers was given, but the bundle is not signed."
    command -v ssh-keygen >/dev/null || fail "--signers needs ssh-keygen: apt install openssh-client"
    who=$(ssh-keygen -Y find-principals -f "$signers" -s SHA256SUMS.sig 2>/dev/null | head -n 1) || who=''
    [ -n "$who" ] || fail "SHA256SUMS is not signed by anybody in $signers."
    ssh-keygen -Y verify -f "$signers" -I "$who" -n fer-edge -s SHA256SUMS.sig <SHA256SUMS >/dev/null 2>&1 ||
        fail "the signature of $who does not fit SHA256SUMS. Copy the bundle again."
    say "signed by $who"
}

check_machine() {
    machine=$(uname -m)
    [ "$machine" = "$ARCH" ] || fail "this bundle is for $ARCH, this machine is $machine. Take another BOARD."
    python=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])') || fail "no python3 here: apt install python3"
    wanted='' needs_glibc=''
    for pair in $PYTHONS; do
        wanted="$wanted ${pair%:*}"
        [ "${pair%:*}" != "$python" ] || needs_glibc=${pair#*:}
    done
    [ -n "$needs_glibc" ] || fail "this bundle is for Python$wanted, this machine has $python."
    glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2) || glibc=''
    [ -n "$glibc" ] || fail "glibc $needs_glibc or newer is needed; this system has another C library."
    oldest=$(printf '%s\n%s\n' "$glibc" "$needs_glibc" | sort -V | head -n 1)
    [ "$oldest" = "$needs_glibc" ] || fail "glibc $needs_glibc or newer is needed, this machine has $glibc."
    python3 -c 'import venv, ensurepip' 2>/dev/null || fail "Python's venv is missing: apt install python3-venv"
    if [ "$SYSTEM_SITE_PACKAGES" = yes ] && ! python3 -c 'import picamera2' 2>/dev/null; then
        say "no picamera2 here, so no CSI camera (apt install python3-picamera2); USB cameras and files work"
    fi
}

check_place() {
    parent=$prefix
    while [ ! -d "$parent" ]; do parent=$(dirname "$parent"); done
    [ -w "$parent" ] || fail "$parent cannot be written. Use sudo, or --prefix DIR."
    free_mb=$(($(df -Pk "$parent" 2>/dev/null | tail -n 1 | tr -s ' ' | cut -d' ' -f4) / 1024))
    [ "$free_mb" -ge 600 ] || fail "$parent has $free_mb MB free, 600 are needed."
}

# --- install -------------------------------------------------------------------------------------------------------

install_release() {
    verify
    . "$here/bundle.env"
    check_machine
    check_place
    [ -z "$engine_wheel" ] || [ -f "$engine_wheel" ] || fail "--engine-wheel $engine_wheel: not found."
    id=$VERSION-$(sha256sum "$here/SHA256SUMS" | cut -c1-12)
    release=$prefix/releases/$id
    old=$(readlink "$prefix/current" 2>/dev/null || true)
    if [ "$old" = "releases/$id" ] && smoke "$release" >/dev/null 2>&1; then
        say "$id is installed already"
        return 0
    fi
    say "installing $id into $release"
    trap 'rm -rf "$release.part"; rm -f "$prefix/.current.part"' EXIT
    trap 'exit 130' INT TERM HUP
    fill_release
    switch_to "releases/$id"
    install_configuration
    install_service
    check_in_use
    rm -f "$bin/.fer-edge.part" 2>/dev/null || true
    mkdir -p "$bin"
    ln -s "$prefix/current/venv/bin/fer-edge" "$bin/.fer-edge.part"
    mv -fT "$bin/.fer-edge.part" "$bin/fer-edge"
    remove_old_releases
    say "$id is in use; try: $bin/fer-edge --version"
}

# Build the release beside its place. A venv cannot be moved, so it is made under its final name, and taken away again
# unless the smoke run passes; `current` does not know of it before that.
fill_release() {
    rm -rf "$release"
    mkdir -p "$release"
    if ! build_venv || ! copy_files || ! smoke "$release"; then
        rm -rf "$release"
        code=4 fail "the new release does not work; nothing was changed${old:+, $old stays in use}."
    fi
}

build_venv() {
    sees=''
    [ "$SYSTEM_SITE_PACKAGES" = no ] || sees=--system-site-packages
    python3 -m venv $sees "$release/venv" || return 1
    pip="$release/venv/bin/python -m pip --disable-pip-version-check --no-input"
    # The bundle's own versions, whatever the system has: --ignore-installed.
    $pip install --quiet --no-index --find-links "$here/wheels" --no-deps --require-hashes --ignore-installed \
        -r "$here/requirements-$python.txt" || return 1
    [ -n "$engine_wheel" ] || return 0
    say "taking $ENGINE from $engine_wheel"
    $pip uninstall --quiet --yes "$ENGINE" && $pip install --quiet --no-index --no-deps "$engine_wheel"
}

copy_files() {
    cp -R "$here/model" "$here/detector" "$here/smoke.npz" "$here/smoke.py" "$here/profile.toml" "$here/bundle.env" \
        "$here/SHA256SUMS" "$release/" || return 1
    chmod -R go+rX "$release"
}

smoke() {
    "$1/venv/bin/python" "$1/smoke.py" "$1" "$MODEL" "$DETECTOR" "$DETECTOR_FILE"
}

# A rename over the old link: whoever starts fer-edge finds the old release or the new one, never none.
switch_to() {
    before=$(readlink "$prefix/current" 2>/dev/null || true)
    ln -sfn "$1" "$prefix/.current.part"
    mv -fT "$prefix/.current.part" "$prefix/current"
    if [ -n "$before" ] && [ "$before" != "$1" ]; then
        ln -sfn "$before" "$prefix/.previous.part"
        mv -fT "$prefix/.previous.part" "$prefix/previous"
    fi
}

# The service must come up with the new release, where there is one; else the release before comes back.
check_in_use() {
    if smoke "$prefix/current" >/dev/null && restart_service; then return 0; fi
    if [ -n "$old" ] && [ "$old" != "releases/$id" ]; then
        switch_to "$old"
        rm -f "$prefix/previous"
        restart_service || true
        rm -rf "$release"
        code=4 fail "$id did not come up; rolled back to $old."
    fi
    code=4 fail "$id did not come up, and there is no version before it."
}

install_configuration() {
    fresh=$release/fer-edge.toml
    sed "s|@RELEASE@|$prefix/current|g" "$here/fer-edge.toml" >"$fresh"
    chmod 644 "$fresh"
    if [ ! -f "$config" ]; then
        mkdir -p "$(dirname "$config")"
        cp "$fresh" "$config"
    elif ! cmp -s "$fresh" "$config"; then
        say "$config is kept; the new version's stands in $prefix/current/fer-edge.toml"
    fi
}

install_service() {
    [ "$service" = yes ] && [ -f "$here/fer-edge.service" ] || return 0
    mkdir -p "$units"
    sed -e "s|^ExecStart=[^ ]*|ExecStart=$prefix/current/venv/bin/fer-edge|" -e "s|--config [^ ]*|--config $config|" \
        "$here/fer-edge.service" >"$units/.fer-edge.service.part"
    chmod 644 "$units/.fer-edge.service.part"
    mv -f "$units/.fer-edge.service.part" "$units/fer-edge.service"
}

has_systemd() {
    [ "$service" = yes ] && [ "$units" = /etc/systemd/system ] && [ -d /run/systemd/system ] &&
        [ -f "$units/fer-edge.service" ]
}

restart_service() {
    has_systemd || return 0
    systemctl daemon-reload
    if ! systemctl is-enabled --quiet fer-edge; then
        say "start it at boot with: sudo systemctl enable --now fer-edge"
        return 0
    fi
    # It counts as started with its first frame.
    [ -z "$engine_wheel" ] || say "the service starts; TensorRT may build its engine first, which takes minutes"
    systemctl restart fer-edge && sleep 5 && systemctl is-active --quiet fer-edge
}

remove_old_releases() {
    in_use=$(readlink "$prefix/current")
    before=$(readlink "$prefix/previous" 2>/dev/null || true)
    for folder in "$prefix"/releases/*; do
        case releases/${folder##*/} in "$in_use" | "$before") ;; *) rm -rf "$folder" ;; esac
    done
}

# --- going back, going away ----------------------------------------------------------------------------------------

roll_back() {
    before=$(readlink "$prefix/previous" 2>/dev/null || true)
    [ -n "$before" ] && [ -d "$prefix/$before" ] || fail "there is no version before the one in use in $prefix."
    . "$prefix/$before/bundle.env"
    smoke "$prefix/$before" || code=4 fail "$before does not work either; nothing was changed."
    switch_to "$before"
    restart_service || code=4 fail "$before is in use again, but its service does not start: journalctl -u fer-edge"
    say "$before is in use again"
}

uninstall() {
    [ -d "$prefix/releases" ] || fail "no fer-edge in $prefix."
    if has_systemd; then
        systemctl disable --quiet --now fer-edge || true
        systemctl clean --what=cache fer-edge || true # TensorRT's engines, of no use to anybody else
    fi
    if [ "$service" = yes ] && [ -n "$units" ]; then rm -f "$units/fer-edge.service"; fi
    if has_link "$bin/fer-edge"; then rm -f "$bin/fer-edge"; fi
    rm -rf "$prefix/releases" "$prefix/current" "$prefix/previous"
    if [ "$purge" = yes ]; then rm -f "$config"; elif [ -f "$config" ]; then say "$config is kept; --purge removes it"; fi
    rmdir "$prefix" 2>/dev/null || true
    say "fer-edge is removed"
}

has_link() { case $(readlink "$1" 2>/dev/null || true) in "$prefix"/*) return 0 ;; *) return 1 ;; esac; }

main "$@"
exit 0
