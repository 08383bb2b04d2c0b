#!/bin/sh
# Install, upgrade, roll back or remove fer-edge on this board. Nothing is downloaded.
#
#   ./install.sh [install|rollback|uninstall] [--prefix DIR] [--bin DIR] [--config FILE] [--units DIR]
#                [--signers FILE] [--engine-wheel FILE] [--downgrade] [--no-service] [--purge]
#
# PREFIX/releases/<id>   one folder a release, with its own venv
# PREFIX/current         link to the release in use; PREFIX/previous to the one before
#
# The bundle is copied first, into a folder of this program alone; the copy is verified, and installed from. The release
# in use and the one before are untouched until the new one has passed. The whole file is one function, so that a copy
# that was cut off does nothing.
set -eu

main() {
    clean_environment
    defaults
    parse "$@"
    lock
    case $action in
        install) install_release ;;
        rollback) roll_back ;;
        uninstall) uninstall ;;
    esac
}

say() { printf 'install.sh: %s\n' "$*"; }
fail() { printf 'install.sh: %s\n' "$*" >&2; exit "${code:-2}"; }

# Settings of this machine for pip and Python are not for the bundle, which is complete. Python itself runs with -I.
clean_environment() {
    for name in $(env | sed -n 's/^\(PIP_[A-Za-z0-9_]*\|PYTHON[A-Za-z0-9_]*\)=.*/\1/p'); do unset "$name"; done
    unset CDPATH VIRTUAL_ENV
    PIP_CONFIG_FILE=/dev/null # no file at all; pip's --isolated would still read /etc/pip.conf
    export PIP_CONFIG_FILE
    umask 022 # the service runs as a user of its own, who must be able to read all this
}

defaults() {
    action=install signers='' engine_wheel='' service=yes purge=no downgrade=no config='' units='' bin='' prefix=''
    made='' staging='' unfinished='' wrote_unit=no old='' old_previous='' switched=no group=fer-edge-config
    here=$(dirname -- "$0")
    here=$(cd -P -- "$here" && pwd)
    if [ "$(id -u)" -eq 0 ]; then
        prefix=/opt/fer-edge bin=/usr/local/bin units=/etc/systemd/system
    else
        prefix=${XDG_DATA_HOME:-${HOME:?}/.local/share}/fer-edge bin=${HOME:?}/.local/bin units='' service=no
    fi
}

parse() {
    case ${1:-} in install | rollback | uninstall) action=$1; shift ;; esac
    while [ $# -gt 0 ]; do
        case $1 in
            --no-service) service=no; shift; continue ;;
            --purge) purge=yes; shift; continue ;;
            --downgrade) downgrade=yes; shift; continue ;;
            --prefix | --bin | --config | --units | --signers | --engine-wheel) ;;
            *) fail "unknown argument $1. See the head of this file." ;;
        esac
        [ $# -ge 2 ] || fail "$1 needs a value."
        case $1 in
            --prefix) prefix=$(place "$1" "$2") ;;
            --bin) bin=$(place "$1" "$2") ;;
            --config) config=$(place "$1" "$2") ;;
            --units) units=$(place "$1" "$2") service=yes ;;
            --signers) signers=$(given_file "$1" "$2") ;;
            --engine-wheel) engine_wheel=$(given_file "$1" "$2") ;;
        esac
        shift 2
    done
    [ -n "$config" ] || if [ "$prefix" = /opt/fer-edge ]; then config=/etc/fer-edge/fer-edge.toml; else config=$prefix/fer-edge.toml; fi
}

# These paths are written into a unit, a configuration file and the first line of programs.
place() {
    case $2 in /*) ;; *) fail "$1 $2: expected an absolute path." ;; esac
    case $2 in
        *[]:\"\$\\\`\&\|\;\(\)\<\>\*\?[\'\#\!~{}^]* | *[[:cntrl:]]*)
            fail "$1 $2: pip cannot write a program into a path with one of : \" \$ \\ \` & | ; ( ) < > * ? [ ] ' # ! ~ { } ^. Choose another." ;;
    esac
    realpath -ms -- "$2"
}

given_file() {
    [ -f "$2" ] || fail "$1 $2: not found."
    realpath -- "$2"
}

# One at a time: two would take each other's unfinished work for remains. The folder itself is the lock.
lock() {
    if [ "$action" = install ]; then check_place; else [ -d "$prefix/releases" ] || fail "no fer-edge in $prefix."; fi
    trap clean_up EXIT
    trap 'exit 130' INT TERM HUP
    mkdir -p -- "$prefix"
    exec 9<"$prefix"
    flock -n 9 || fail "another install.sh is at work in $prefix. Wait for it."
}

# --- before anything is changed ------------------------------------------------------------------------------------

check_place() {
    parent=$prefix
    while [ ! -d "$parent" ]; do made=$parent parent=$(dirname -- "$parent"); done
    [ -w "$parent" ] || fail "$parent cannot be written. Use sudo, or --prefix DIR."
    free_mb=$(($(df -k --output=avail -- "$parent" | tail -n 1) / 1024))
    [ "$free_mb" -ge 800 ] || fail "$parent has $free_mb MB free, 800 are needed."
}

# Copy the bundle, and what else is read of other people's folders, to where nobody else can write; verify the copy.
stage() {
    [ -f "$here/SHA256SUMS" ] || fail "no SHA256SUMS beside install.sh. Copy the bundle again."
    rm -rf -- "$prefix"/.staging.*
    staging=$(mktemp -d "$prefix/.staging.XXXXXX")
    TMPDIR=$staging
    export TMPDIR
    cp -R -P -- "$here/." "$staging/bundle" || fail "the bundle cannot be copied to $staging."
    mkdir "$staging/given"
    for given in "$signers" "$engine_wheel"; do [ -z "$given" ] || cp -- "$given" "$staging/given/"; done
    verify_bundle "$staging/bundle" "${signers:+$staging/given/${signers##*/}}"
    here=$staging/bundle engine_wheel=${engine_wheel:+$staging/given/${engine_wheel##*/}}
    chmod -R go+rX "$here"
}

#@verify.sh@

check_machine() {
    machine=$(uname -m)
    [ "$machine" = "$ARCH" ] || fail "this bundle is for $ARCH, this machine is $machine. Take another BOARD."
    python=$(python3 -I -c 'import sys; print("%d.%d" % sys.version_info[:2])') || fail "no python3 here: apt install python3"
    versions='' needs_glibc=''
    for pair in $PYTHONS; do
        versions="$versions ${pair%:*}"
        [ "${pair%:*}" != "$python" ] || needs_glibc=${pair#*:}
    done
    [ -n "$needs_glibc" ] || fail "this bundle is for Python$versions, this machine has $python."
    glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2) || glibc=''
    [ -n "$glibc" ] || fail "glibc $needs_glibc or newer is needed; this system has another C library."
    is_older "$glibc" "$needs_glibc" && fail "glibc $needs_glibc or newer is needed, this machine has $glibc."
    python3 -I -c 'import venv, ensurepip' 2>/dev/null || fail "Python's venv is missing: apt install python3-venv"
    if [ "$SYSTEM_SITE_PACKAGES" = yes ] && ! python3 -I -c 'import picamera2' 2>/dev/null; then
        say "no picamera2 here, so no CSI camera (apt install python3-picamera2); USB cameras and files work"
    fi
}

# An older bundle may be signed, and have a fault that was mended since.
check_version() {
    [ "$downgrade" = no ] && [ -f "$prefix/current/bundle.env" ] || return 0
    in_use=$(fact VERSION "$prefix/current")
    is_older "$VERSION" "$in_use" || return 0
    fail "version $VERSION is older than $in_use, which is in use. Say --downgrade, or go back with: install.sh rollback"
}

fact() { sed -n "s/^$1=\"\(.*\)\"\$/\1/p" "$2/bundle.env"; }

is_older() { [ "$1" != "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sortable | LC_ALL=C sort -V | head -n 1)" = "$(echo "$1" | sortable)" ]; }

# sort -V puts ~ before the end of a word, so that 1.0rc1 comes before 1.0.
sortable() { sed -E 's/\.?(dev|a|b|rc)([0-9])/~\1\2/g; s/~dev/~~dev/'; }

# --- install -------------------------------------------------------------------------------------------------------

install_release() {
    stage
    # shellcheck source=/dev/null
    . "$here/bundle.env"
    check_machine
    check_version
    old=$(target_of current)
    old_previous=$(target_of previous)
    if is_same_bundle_as "$old" && smoke "$prefix/current" >/dev/null 2>&1; then
        complete_release
        say "$id is installed already"
        return 0
    fi
    choose_id
    say "installing $id into $release"
    fill_release
    install_configuration
    switch_to "releases/$id"
    link_command
    install_service "$release"
    check_in_use
    switched=no unfinished='' made=''
    remove_old_releases
    say "$id is in use; try: $bin/fer-edge --version"
}

# A power cut, or --no-service, may have ended the run that put this release in use before these steps.
complete_release() {
    id=${old#releases/}
    link_command
    install_service "$prefix/$old"
    ! has_systemd || systemctl daemon-reload
    remove_old_releases
}

target_of() { [ ! -L "$prefix/$1" ] || readlink -- "$prefix/$1"; }

is_same_bundle_as() { [ -n "$1" ] && cmp -s "$here/SHA256SUMS" "$prefix/$1/SHA256SUMS"; }

# A folder of its own, also where this very bundle is in use already and has come to harm.
choose_id() {
    digest=$(sha256sum "$here/SHA256SUMS")
    base=$VERSION-$(printf '%.12s' "$digest")
    id=$base number=1
    while [ "releases/$id" = "$old" ] || [ "releases/$id" = "$old_previous" ]; do
        number=$((number + 1)) id=$base.$number
    done
    release=$prefix/releases/$id
}

# Build the release in its place, because a venv cannot be moved. `current` does not know of it before it has passed.
fill_release() {
    rm -rf -- "$release"
    unfinished=$release
    mkdir -p "$release"
    if ! build_venv || ! copy_files || ! smoke "$release"; then
        code=4 fail "the new release does not work; nothing was changed${old:+, $old stays in use}."
    fi
    sync -f "$release" 2>/dev/null || sync # a power cut must not find a link to files that were never written
}

build_venv() {
    sees=''
    [ "$SYSTEM_SITE_PACKAGES" = no ] || sees=--system-site-packages
    python3 -I -m venv ${sees:+"$sees"} "$release/venv" || return 1
    # The bundle's own versions, whatever the system has: --ignore-installed.
    pip install --find-links "$here/wheels" --require-hashes --ignore-installed -r "$here/requirements-$python.txt" || return 1
    [ -n "$engine_wheel" ] || return 0
    say "taking $ENGINE from ${engine_wheel##*/}"
    pip uninstall --yes "$ENGINE" && pip install "$engine_wheel"
}

pip() {
    action_of_pip=$1
    shift
    [ "$action_of_pip" = uninstall ] || set -- --no-index --no-deps --only-binary :all: "$@"
    "$release/venv/bin/python" -I -m pip --isolated --disable-pip-version-check --no-input --quiet "$action_of_pip" "$@"
}

copy_files() {
    for name in model detector smoke.npz smoke.py profile.toml bundle.env SHA256SUMS fer-edge.service; do
        [ ! -e "$here/$name" ] || cp -R -- "$here/$name" "$release/" || return 1
    done
    filled "$here/fer-edge.toml" >"$release/fer-edge.toml" && chmod -R go+rX "$release"
}

smoke() {
    "$1/venv/bin/python" -I "$1/smoke.py" "$1" "$MODEL" "$DETECTOR" "$DETECTOR_FILE"
}

# A rename over the old link: whoever starts fer-edge finds the old release or the new one, never none.
switch_to() {
    if [ -n "$old" ] && ! is_same_bundle_as "$old"; then point previous "$old"; fi
    switched=yes
    point current "$1"
}

point() {
    ln -sfn -- "$2" "$prefix/.$1.part"
    mv -fT -- "$prefix/.$1.part" "$prefix/$1"
}

# The new release did not come up: everything as it was.
switch_back() {
    switched=no
    if [ -n "$old_previous" ]; then point previous "$old_previous"; else rm -f -- "$prefix/previous"; fi
    if [ -z "$old" ]; then
        rm -f -- "$prefix/current"
        remove_link
        [ "$wrote_unit" = no ] || rm -f -- "$units/fer-edge.service"
        return 0
    fi
    point current "$old"
    install_service "$prefix/$old"
    restart_service >/dev/null || true
}

# Whatever ended the program: an unfinished release is not left in use, and nothing half-made is left behind.
# shellcheck disable=SC2317 # called by a trap
clean_up() {
    status=$?
    trap - EXIT
    set +e
    if [ "$switched" = yes ]; then switch_back; fi
    rm -rf -- ${unfinished:+"$unfinished"} ${staging:+"$staging"}
    rm -f -- "$prefix/.current.part" "$prefix/.previous.part"
    rmdir -- "$prefix/releases" 2>/dev/null
    [ -z "$made" ] || find "$made" -depth -type d -empty -delete 2>/dev/null
    exit "$status"
}

check_in_use() {
    if smoke "$prefix/current" >/dev/null && restart_service; then return 0; fi
    if [ -z "$old" ]; then code=4 fail "$id did not come up, and there is no version before it."; fi
    switch_back
    code=4 fail "$id did not come up; rolled back to $old."
}

link_command() {
    mkdir -p "$bin"
    rm -f -- "$bin/.fer-edge.part"
    ln -s -- "$prefix/current/venv/bin/fer-edge" "$bin/.fer-edge.part"
    mv -fT -- "$bin/.fer-edge.part" "$bin/fer-edge"
}

# --- configuration and service -------------------------------------------------------------------------------------

# filled FILE: print it with the folder of the release in use in place of @RELEASE@.
filled() { sed "s|@RELEASE@|$(for_sed "$prefix/current")|g" "$1"; }

for_sed() { printf '%s\n' "$1" | sed 's/[&|\\]/\\&/g'; }

# It is where passwords of cameras and brokers are kept: the service may read it, and nobody else.
install_configuration() {
    fresh=$release/fer-edge.toml
    if [ ! -e "$config" ]; then
        mkdir -p "$(dirname -- "$config")"
        (umask 077 && cp -- "$fresh" "$config.part") && mv -f -- "$config.part" "$config"
    elif ! cmp -s "$fresh" "$config"; then
        say "$config is kept; the new version's stands in $prefix/current/fer-edge.toml"
    fi
    protect_configuration
}

protect_configuration() {
    if [ -L "$config" ] || [ ! -O "$config" ]; then return 0; fi # somebody else's choice
    if has_group; then
        chgrp "$group" "$config"
        chmod u=rw,g=r,o= "$config"
    elif uses_system_units; then
        say "no group $group could be made: every user of this machine can read $config; keep secrets in files of their own"
        chmod 644 "$config"
    else
        chmod 600 "$config"
    fi
}

uses_system_units() { [ "$service" = yes ] && [ "$units" = /etc/systemd/system ] && [ "$(id -u)" -eq 0 ]; }

# The service's user exists only while it runs, so a group of its own lets it read the configuration.
has_group() {
    uses_system_units || return 1
    getent group "$group" >/dev/null || groupadd --system "$group" 2>/dev/null
}

# install_service RELEASE: write the unit that RELEASE was made with.
install_service() {
    [ "$service" = yes ] && [ -f "$1/fer-edge.service" ] || return 0
    mkdir -p "$units"
    program=$(for_sed "$(in_unit "$prefix/current/venv/bin/fer-edge")")
    settings=$(for_sed "$(in_unit "$config")")
    groups=s/x/x/
    if has_group; then groups="s/^SupplementaryGroups=.*/& $group/"; fi
    sed -e "s|^ExecStart=[^ ]*|ExecStart=$program|" -e "s|--config [^ ]*|--config $settings|" -e "$groups" \
        "$1/fer-edge.service" >"$units/.fer-edge.service.part"
    chmod 644 "$units/.fer-edge.service.part"
    [ -f "$units/fer-edge.service" ] || wrote_unit=yes
    mv -f -- "$units/.fer-edge.service.part" "$units/fer-edge.service"
}

# Another installation's unit is not ours to remove.
has_own_unit() {
    [ "$service" = yes ] && [ -n "$units" ] && [ -f "$units/fer-edge.service" ] &&
        grep -qF "ExecStart=$(in_unit "$prefix/current/venv/bin/fer-edge") " "$units/fer-edge.service"
}

# In a unit a % begins a specifier, and a blank ends a word outside quotes.
in_unit() {
    case $1 in
        *[!A-Za-z0-9/._+-]*) printf '"%s"\n' "$(printf '%s\n' "$1" | sed 's/%/%%/g')" ;;
        *) printf '%s\n' "$1" ;;
    esac
}

has_systemd() {
    uses_system_units && [ -d /run/systemd/system ] && [ -f "$units/fer-edge.service" ]
}

restart_service() {
    has_systemd || return 0
    systemctl daemon-reload
    if ! systemctl is-enabled --quiet fer-edge && ! systemctl is-active --quiet fer-edge; then
        say "start it at boot with: sudo systemctl enable --now fer-edge"
        return 0
    fi
    systemctl restart --no-block fer-edge
    wait_for_service
}

# It counts as started with its first frame, or once it waits for its camera. That one is unplugged is no fault of a
# release; exit code 3 is a source that was lost, where [camera] tries bounds the waiting.
wait_for_service() {
    looks=0 running=0 ended=0
    while [ "$looks" -lt 45 ]; do
        sleep 2
        looks=$((looks + 1))
        case $(systemctl show --value -p SubState fer-edge) in
            running) running=$((running + 1)) ended=0 ;;
            auto-restart* | failed | dead) running=0 ended=$((ended + 1)) ;;
            *) running=0 ended=0 ;;
        esac
        if [ "$running" -ge 3 ]; then return 0; fi
        # Between stop and start of a restart the service is dead for a moment.
        if [ "$ended" -ge 2 ]; then
            [ "$(systemctl show --value -p ExecMainStatus fer-edge)" = 3 ] || return 1
            break
        fi
    done
    say "the service runs, but has had no picture yet: is the camera there? journalctl -u fer-edge"
}

remove_link() {
    case $(readlink -- "$bin/fer-edge" 2>/dev/null || true) in "$prefix"/*) rm -f -- "$bin/fer-edge" ;; esac
}

remove_old_releases() {
    before=$old
    if is_same_bundle_as "$old"; then before=$old_previous; fi
    for folder in "$prefix"/releases/*; do
        case releases/${folder##*/} in "releases/$id" | "$before") ;; *) rm -rf -- "$folder" ;; esac
    done
}

# --- going back, going away ----------------------------------------------------------------------------------------

roll_back() {
    old=$(target_of current)
    before=$(target_of previous)
    if [ -z "$before" ] || [ "$before" = "$old" ] || [ ! -d "$prefix/$before" ]; then
        fail "there is no version before the one in use in $prefix."
    fi
    # shellcheck source=/dev/null
    . "$prefix/$before/bundle.env"
    smoke "$prefix/$before" || code=4 fail "$before does not work either; nothing was changed."
    point current "$before"
    point previous "$old"
    install_service "$prefix/$before"
    restart_service || code=4 fail "$before is in use again, but its service does not start: journalctl -u fer-edge"
    say "$before is in use again"
}

uninstall() {
    made=$prefix
    if has_own_unit; then remove_service; fi
    remove_link
    rm -rf -- "$prefix/releases" "$prefix/current" "$prefix/previous" "$prefix"/.staging.*
    if [ "$purge" = yes ]; then rm -f -- "$config"; elif [ -f "$config" ]; then say "$config is kept; --purge removes it"; fi
    say "fer-edge is removed"
}

remove_service() {
    if has_systemd; then
        systemctl disable --quiet --now fer-edge || true
        systemctl clean --what=cache fer-edge || true # TensorRT's engines, of no use to anybody else
    fi
    rm -f -- "$units/fer-edge.service"
    if [ "$purge" = yes ] && uses_system_units; then purge_system; fi
    [ ! -d /run/systemd/system ] || systemctl daemon-reload || true
}

# The results are below private/: that is where systemd keeps what belongs to a user that exists only while it runs.
purge_system() {
    rm -rf -- "$units/fer-edge.service.d" "$units/fer-edge.service.wants" /etc/fer-edge /etc/credstore/fer-edge.*
    for folder in /var/lib /var/cache /var/log; do rm -rf -- "$folder/fer-edge" "$folder/private/fer-edge"; done
    if getent group "$group" >/dev/null; then groupdel "$group" || true; fi
}

main "$@"
exit 0
