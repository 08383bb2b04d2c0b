#!/bin/sh
# Unpack ARCHIVE into FOLDER, which is empty and root's alone, and check it before anything of it runs.
#
#   check_bundle.sh ARCHIVE FOLDER VERIFY [SIGNERS]
#
# It comes from the workstation, as does VERIFY (boards/bundle/verify.sh): a bundle cannot vouch for itself.
set -eu
archive=$1 folder=$2 verify=$3 signers=${4:-}

say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 2; }

tar --list --verbose --gzip --file "$archive" >"$folder.list" || fail "the archive is incomplete. Copy it again."
# A link could lead what comes after it to a place outside.
if grep -qv '^[-d]' "$folder.list"; then fail "the archive holds something that is neither file nor folder."; fi
rm -f "$folder.list"
tar --extract --gzip --file "$archive" --directory "$folder" --strip-components=1 --no-same-owner --no-same-permissions
# shellcheck source=boards/bundle/verify.sh
. "$verify"
verify_bundle "$folder" "$signers"
