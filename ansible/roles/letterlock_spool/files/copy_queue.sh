#!/bin/sh
# Copies the queue to the volume. copy_queue.sh VOLUME QUEUE
#
# What is mounted here is seen by nobody else, and ends with this script.
[ "${IN_NAMESPACE-}" ] || exec env IN_NAMESPACE=1 unshare --mount sh -eu "$0" "$@"

volume=$1 queue=$2
# Only what a copy that was cut off has left may be overwritten.
begun=/mnt/.letterlock-copy

mount "$volume" /mnt
if [ -z "$(ls -A "$queue")" ]; then
    echo "nothing to copy: the queue is on the volume already"
    exit 0
fi
if [ ! -e "$begun" ] && [ "$(ls -A /mnt | grep -vx lost+found)" ]; then
    echo "$volume holds files, which would be lost, and $queue is not empty" >&2
    exit 1
fi
: >"$begun"
find /mnt -mindepth 1 ! -path "$begun" -delete
cp --archive "$queue/." /mnt/
find /mnt -type s -delete
sync --file-system /mnt
