"""A tree of Debian 12 as an operator's mail host has it before Letterlock comes.

It is made once and kept below `.dev/`: hosts lay what they write over it. What the roll-out
installs is not in it, but its packages wait in apt's cache, because hosts have no way out.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOT = Path(__file__).parents[3]
KEPT = _ROOT / ".dev" / "testbed"

_SUITE = "bookworm"

_BASE = [
    "systemd",
    "systemd-sysv",
    "dbus",
    "libpam-systemd",
    "openssh-server",
    "python3-minimal",
    "python3-apt",
    "iproute2",
    "ca-certificates",
    "sudo",
    "netbase",
    "procps",
    "kmod",
    "cron",
    "logrotate",
    "less",
]
"""What a host of a provider has, and what Ansible needs."""

_MAIL = ["postfix", "dovecot-lmtpd", "dovecot-imapd", "openssl"]
"""What the operator runs already."""

_AWAITED = [
    "redis-server",
    "redis-sentinel",
    "python3-venv",
    "libmilter1.0.1",
    "unbound",
    "dns-root-data",
    "cryptsetup-bin",
    "prometheus",
    "prometheus-alertmanager",
    "prometheus-node-exporter",
    "postgresql",
    "haproxy",
    "stunnel4",
    "gcc",
    "libc6-dev",
    "libmilter-dev",
    "python3-dev",
    "swaks",
    "libnet-ssleay-perl",
]
"""What the roles install, what their hosts talk to, and what docs/install.md says to install."""

_MAKE_MAIL_HOST = """\
set -eu
root=$1
echo 'postfix postfix/main_mailer_type select Internet Site' | chroot "$root" debconf-set-selections
echo 'postfix postfix/mailname string host.test' | chroot "$root" debconf-set-selections
export DEBIAN_FRONTEND=noninteractive
chroot "$root" apt-get -qq --no-install-recommends install -y {mail}
chroot "$root" apt-get -qq --no-install-recommends --download-only install -y {awaited}
"""

_MAKE_HOST = """\
set -eu
root=$1
# Each host makes its own.
rm -f "$root"/etc/ssh/ssh_host_*
: >"$root/etc/machine-id"
# Nobody fetches packages but the roll-out.
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer \
    systemd-networkd-wait-online.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
chroot "$root" systemctl -q enable systemd-networkd.service
mkdir -p "$root/etc/systemd/system/ssh.service.d"
cat >"$root/etc/systemd/system/ssh.service.d/keys.conf" <<'UNIT'
[Service]
ExecStartPre=
ExecStartPre=/usr/bin/ssh-keygen -A
ExecStartPre=/usr/sbin/sshd -t
UNIT
# Roles must work with sudo, not only as root.
chroot "$root" useradd -m -s /bin/bash admin
echo 'admin ALL=(ALL) NOPASSWD:ALL' >"$root/etc/sudoers.d/admin"
chmod 440 "$root/etc/sudoers.d/admin"
"""


def tree() -> Path:
    """Return the tree, made now (about half a minute) or by an earlier run."""
    recipe = (_BASE, _MAIL, _AWAITED, _MAKE_MAIL_HOST, _MAKE_HOST, _sources(), _apt_options())
    name = hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]
    path = KEPT / f"{_SUITE}-{name}"
    KEPT.mkdir(parents=True, exist_ok=True)
    with _alone(KEPT / "lock"):
        if not path.exists():
            _forget_others(path)
            _make(path)
    return path


def _make(path: Path) -> None:
    scratch = path.with_suffix(".making")
    shutil.rmtree(scratch, ignore_errors=True)
    options = [f"--aptopt={option}" for option in _apt_options()]
    hooks = [
        _hook(path.with_suffix(".mail.sh"), _MAKE_MAIL_HOST),
        _hook(path.with_suffix(".host.sh"), _MAKE_HOST),
    ]
    done = subprocess.run(
        [
            "mmdebstrap",
            "--quiet",
            "--mode=root",
            "--variant=minbase",
            "--format=directory",
            # The lists and packages are all that hosts will ever have of the mirror.
            "--skip=cleanup/apt",
            f"--include={','.join(_BASE)}",
            *options,
            *hooks,
            _SUITE,
            str(scratch),
            *_sources(),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"mmdebstrap: {done.stderr[-3000:]}")
    scratch.rename(path)


def _hook(file: Path, script: str) -> str:
    file.write_text(script.format(mail=" ".join(_MAIL), awaited=" ".join(_AWAITED)))
    return f'--customize-hook=sh {file} "$1"'


def _sources() -> list[str]:
    """Return this machine's own mirrors, as lines of a sources.list."""
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    texts = "\n".join(file.read_text() for file in files if file.is_file())
    addresses = re.findall(r"(?m)^(?:URIs:|deb(?: \[[^]]*\])?) +(https?://\S+)", texts)
    security = [a for a in addresses if "security" in a]
    plain = [a for a in addresses if "debian" in a and a not in security]
    if not plain or not security:
        raise RuntimeError("no mirror of Debian in /etc/apt")
    return [
        f"deb {plain[0]} {_SUITE} main",
        f"deb {plain[0]} {_SUITE}-updates main",
        f"deb {security[0]} {_SUITE}-security main",
    ]


def _apt_options() -> list[str]:
    """Return what this machine needs to be told to reach its mirrors."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    wanted = r"(?m)^(Acquire::(?:Check-[A-Za-z-]+|https?::[^ ]+|ForceIPv[46]) .*);$"
    return re.findall(wanted, dump)


def _forget_others(path: Path) -> None:
    for other in KEPT.glob(f"{_SUITE}-*"):
        # A host that runs, of another run, stands on it.
        if other.suffix == "" and other != path and f"lowerdir={other}" not in _mounts():
            shutil.rmtree(other)


def _mounts() -> str:
    return Path("/proc/mounts").read_text()


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
