#!/bin/sh
# Removes what the queue directory held before the volume was mounted on it, names it, and lets
# nobody write there. clear_beneath.sh VOLUME QUEUE
#
# What is mounted here is seen by nobody else, and ends with this script.
[ "${IN_NAMESPACE-}" ] || exec env IN_NAMESPACE=1 unshare --mount sh -eu "$0" "$@"

volume=$1 queue=$2
# Written as the copy began: mail that changed later is not in it.
begun=$queue/.letterlock-copy

if [ "$(findmnt --noheadings --output SOURCE --mountpoint "$queue")" != "$volume" ]; then
    echo "$volume is not mounted on $queue" >&2
    exit 1
fi
mount --bind "$(dirname "$queue")" /mnt
cd "/mnt/$(basename "$queue")"
since=
[ ! -e "$begun" ] || since="-cnewer $begun"
for directory in maildrop incoming active deferred hold corrupt saved; do
    # shellcheck disable=SC2086  # two words, or none
    [ ! -d "$directory" ] || find "$directory" -type f $since
done | if grep . >&2; then
    echo "mail is beneath $queue which the volume does not have; see to it yourself:" \
        "mount --bind $(dirname "$queue") /mnt" >&2
    exit 1
fi
find . -mindepth 1 -print -delete
sync --file-system .
# So that no program puts mail there while the volume is not open. Not every file system can.
if ! lsattr -d . 2>/dev/null | cut -d ' ' -f 1 | grep -q i; then
    chattr +i . 2>/dev/null && echo "$queue: immutable beneath" || :
fi
[ ! -e "$begun" ] || rm -v "$begun"
