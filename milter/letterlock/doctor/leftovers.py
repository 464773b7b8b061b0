"""Rules about where plaintext could rest against everybody's will: spool, swap, core dumps."""

from collections.abc import Callable, Iterator
from itertools import pairwise

from letterlock.doctor.host import Host
from letterlock.doctor.storage import Rest, device_rest, rest_of
from letterlock.postfix_findings import Finding, Severity

_LUKS = "move it to a dm-crypt volume (docs/operating.md, Encrypted spool)"


def spool(host: Host, queue_directory: str) -> Iterator[Finding]:
    """The queue is on an encrypted volume."""
    reason = (
        "Postfix writes a message to its queue while it arrives, and what Letterlock replaces "
        "there, header fields above all, can still be read from the disk"
    )
    match rest_of(host, queue_directory):
        case Rest.PLAIN:
            what = "the queue directory is on a device that is not encrypted"
            yield Finding(queue_directory, _LUKS, reason, what=what)
        case Rest.UNKNOWN:
            what = "cannot tell whether the queue directory is on an encrypted device"
            line = "make sure that it is, or " + _LUKS
            yield Finding(queue_directory, line, reason, Severity.NOTE, what)
        case Rest.ENCRYPTED | Rest.MEMORY:
            pass


def is_spool_encrypted(host: Host, queue_directory: str) -> bool:
    """Whether it is certain that nothing of the queue rests readable."""
    return rest_of(host, queue_directory) in (Rest.ENCRYPTED, Rest.MEMORY)


def swap(host: Host, *, has_mail: bool) -> Iterator[Finding]:
    """Memory goes to encrypted devices, or to none. `has_mail`: there is mail in it."""
    reason = "the memory of Postfix and Letterlock holds mail in plaintext, and can end up there"
    if not has_mail:
        reason = "without MemorySwapMax=0, as its unit has it, secrets of the key service go there"
    for line in (host.read("/proc/swaps") or "").splitlines()[1:]:
        name, kind = line.split()[:2]
        if (rest := _swap_rest(host, name, kind)) in (Rest.ENCRYPTED, Rest.MEMORY):
            continue
        is_plain = rest is Rest.PLAIN
        severity = Severity.BREACH if is_plain and has_mail else Severity.NOTE
        what = "swap is not encrypted" if is_plain else "cannot tell whether swap is encrypted"
        fix = f"swapoff {name}, and its line out of /etc/fstab; or crypttab(5), option swap"
        yield Finding(name, fix, reason, severity, what)


def _swap_rest(host: Host, name: str, kind: str) -> Rest:
    if kind == "file":
        return rest_of(host, name)
    device = host.block_device(name)
    return Rest.UNKNOWN if device is None else device_rest(host, device)


def core_dumps(host: Host, config_path: str) -> Iterator[Finding]:
    """A process with mail in it that crashes leaves no image of its memory."""
    pattern = host.read("/proc/sys/kernel/core_pattern") or ""
    if host.read("/proc/sys/fs/suid_dumpable") in ("1", "2") and not _goes_nowhere(pattern):
        # smtpd(8) and cleanup(8) have changed their account, and are dumped only then.
        yield Finding(
            "fs.suid_dumpable",
            "fs.suid_dumpable = 0 in /etc/sysctl.d/99-letterlock.conf; sysctl --system",
            "their memory holds mail in plaintext",
            what=f"if a process of Postfix crashes, its memory is written out ({pattern})",
        )
    yield from _images(
        host,
        lambda arguments: _is_worker(arguments, config_path),
        "a worker of the milter may leave a core dump",
        "its memory holds mail in plaintext",
    )


def core_dumps_of_keyservice(host: Host, config_path: str) -> Iterator[Finding]:
    """The same for the key service, which refuses secret keys, but only after it has seen them."""
    yield from _images(
        host,
        lambda arguments: _is_keyservice(arguments, config_path),
        "the key service may leave a core dump",
        "its memory holds secrets, and secret keys that were handed in by mistake",
    )


def _images(
    host: Host, is_ours: Callable[[list[str]], bool], what: str, reason: str
) -> Iterator[Finding]:
    for pid, arguments in host.processes():
        if is_ours(arguments) and _core_limit(host, pid) not in ("0", None):
            line = "LimitCORE=0 in its unit, and restart it"
            yield Finding(f"process {pid}", line, reason, what=what)


def _goes_nowhere(pattern: str) -> bool:
    return not pattern or pattern.startswith(("|/bin/false", "|/bin/true", "/dev/null"))


def _is_worker(arguments: list[str], config_path: str) -> bool:
    return config_path in arguments and "--worker" in arguments


def _is_keyservice(arguments: list[str], config_path: str) -> bool:
    # Not an editor, nor ourselves.
    is_named = any(argument.endswith("keyservice") for argument in arguments)
    return is_named and ("--config", config_path) in pairwise(arguments)


def _core_limit(host: Host, pid: int) -> str | None:
    for line in (host.read(f"/proc/{pid}/limits") or "").splitlines():
        if line.startswith("Max core file size"):
            return line.split()[4]
    return None
