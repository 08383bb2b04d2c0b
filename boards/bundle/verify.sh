# shellcheck shell=sh
# Check a bundle with the board's own tools: find, sha256sum, ssh-keygen.
#
# `make bundle` puts these functions into the bundle's install.sh. The fleet role sends this file from the workstation,
# because a bundle that is not trusted yet cannot vouch for itself. Whoever uses it defines `say` and `fail`.

# verify_bundle FOLDER SIGNERS: every file is listed in SHA256SUMS and has its sum; where SIGNERS (OpenSSH allowed_signers)
# is not empty, somebody in it signed the list.
verify_bundle() {
    cd -P -- "$1" || fail "$1 cannot be entered."
    odd=$(find . ! -type f ! -type d) || fail "$1 cannot be searched."
    [ -z "$odd" ] || fail "the bundle holds something that is neither file nor folder. Copy it again."
    [ -f SHA256SUMS ] || fail "no SHA256SUMS beside install.sh. Copy the bundle again."
    verify_signature "$2"
    # sha256sum takes capitals and other separators too; one spelling only, so that no byte of the list can change.
    if grep -qvE '^[0-9a-f]{64}  \./[A-Za-z0-9._+/-]+$' SHA256SUMS; then
        fail "SHA256SUMS is damaged. Copy the bundle again."
    fi
    listed=$(cut -c67- SHA256SUMS | LC_ALL=C sort)
    present=$(find . -type f ! -path ./SHA256SUMS ! -path ./SHA256SUMS.sig | LC_ALL=C sort)
    [ "$listed" = "$present" ] || fail "the bundle's files are not those SHA256SUMS lists. Copy the bundle again."
    sha256sum --check --strict --quiet SHA256SUMS || fail "a file is not what it was when it was bundled. Copy it again."
    cd / || fail "/ cannot be entered."
}

verify_signature() {
    if [ -z "$1" ]; then
        [ -f SHA256SUMS.sig ] || return 0
        command -v ssh-keygen >/dev/null || { say "signature not checked: no ssh-keygen here"; return 0; }
        ssh-keygen -Y check-novalidate -n fer-edge -s SHA256SUMS.sig <SHA256SUMS >/dev/null 2>&1 ||
            fail "the signature does not fit SHA256SUMS. Copy the bundle again."
        say "signed, but nobody was named who may sign; --signers FILE does"
        return 0
    fi
    [ -f "$1" ] || fail "--signers $1: not found."
    [ -f SHA256SUMS.sig ] || fail "--signers was given, but the bundle is not signed."
    command -v ssh-keygen >/dev/null || fail "--signers needs ssh-keygen: apt install openssh-client"
    one=$(mktemp) known=''
    # Each line by itself: ssh-keygen looks no further than the first line with the key, and that may be for something else.
    while IFS= read -r line || [ -n "$line" ]; do
        printf '%s\n' "$line" >"$one"
        names=$(ssh-keygen -Y find-principals -f "$one" -s SHA256SUMS.sig 2>/dev/null </dev/null) || continue
        known=$names
        if who=$(signed_by "$names" "$one"); then break; fi
    done <"$1"
    rm -f "$one"
    [ -n "$known" ] || fail "SHA256SUMS is not signed by anybody in ${1##*/}."
    [ -n "${who:-}" ] || fail "the signature of $known does not fit SHA256SUMS. Copy the bundle again."
    say "signed by $who"
}

# signed_by NAMES FILE: print the first of NAMES (commas between) for whom the signature holds.
signed_by() {
    printf '%s\n' "$1" | tr ',' '\n' | while IFS= read -r name; do
        if ssh-keygen -Y verify -f "$2" -I "$name" -n fer-edge -s SHA256SUMS.sig <SHA256SUMS >/dev/null 2>&1; then
            printf '%s\n' "$name"
            break
        fi
    done | grep .
}
