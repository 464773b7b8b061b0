"""A private Postfix instance with the fragments of postfix-conf/ applied to a plain base."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from stack import dovecot, submission
from stack.fragments import fragment, merged
from stack.layout import Layout
from stack.processes import NotReady, Session, enter, greets, wait_until

MILTER_SOCKET = "letterlock/milter.sock"
"""Relative to the queue directory, as in a deployment with chroot."""

HOSTNAME = "mx.example.test"

_BASE_MAIN = """\
compatibility_level = 3.6
queue_directory = {postfix}/spool
data_directory = {postfix}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
shlib_directory = /usr/lib/postfix
meta_directory = /etc/postfix
maillog_file = {logs}/postfix.log
maillog_file_prefixes = {base}
myhostname = {hostname}
myorigin = {hostname}
mydestination = {hostname}, localhost
mynetworks = 192.0.2.1/32
local_header_rewrite_clients =
inet_interfaces = loopback-only
inet_protocols = ipv4
smtp_dns_support_level = disabled
default_transport = error:nothing leaves this stack
transport_maps = texthash:{postfix}/etc/transport
alias_maps = texthash:{postfix}/etc/aliases
alias_database =
local_recipient_maps = $alias_maps
recipient_delimiter = +
virtual_mailbox_domains = {domains}
virtual_mailbox_maps = regexp:{postfix}/etc/mailboxes
virtual_alias_maps = texthash:{postfix}/etc/virtual
virtual_transport = {transport}:unix:{lmtp}
smtpd_relay_restrictions = reject_unauth_destination
smtpd_peername_lookup = no
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
message_size_limit = 52428800
mailbox_size_limit = 0
mailbox_size_limit = 0
biff = no
"""
# mynetworks is somebody else's and local_header_rewrite_clients empty: a client on loopback
# is a stranger here, and its mail is not completed with missing header fields.

_BASE_MASTER = """\
postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""


def write_config(
    layout: Layout,
    *,
    hostname: str,
    domains: Sequence[str],
    virtual_aliases: Mapping[str, str],
    local_aliases: Mapping[str, str],
    parameters: Mapping[str, str],
    milter: bool,
    untraced: bool,
    has_submission: bool,
) -> None:
    """Write main.cf, master.cf and the tables."""
    etc = layout.postfix / "etc"
    for path in (etc, layout.queue, layout.postfix / "data"):
        path.mkdir(parents=True, exist_ok=True)
    (layout.queue / "letterlock").mkdir(exist_ok=True)
    # master(8) takes its lock there as mail_owner.
    shutil.chown(layout.postfix / "data", "postfix")
    main = _BASE_MAIN.format(
        postfix=layout.postfix,
        base=layout.base,
        logs=layout.logs,
        hostname=hostname,
        domains=", ".join(domains),
        transport="lmtp-untraced" if untraced else "lmtp",
        lmtp=dovecot.lmtp_socket(layout),
    )
    main += fragment("main.cf", {"MILTER": f"unix:{MILTER_SOCKET}"})
    if has_submission:
        main += submission.main_cf(layout)
    (etc / "main.cf").write_text(main)
    smtp, reentry = ("{}:{}".format(*layout.address(port)) for port in ("smtp", "reentry"))
    master = fragment("master.cf", {"CHROOT": "n", "REENTRY": reentry})
    master = re.sub(r"(?m)^smtp ", f"{smtp} ", master)
    if has_submission:
        master += submission.master_cf(layout)
    (etc / "master.cf").write_text(merged(_BASE_MASTER, master))
    for name in ("letterlock-received.regexp", "letterlock-submission-received.regexp"):
        text = fragment(name, {"MYHOSTNAME": hostname.replace(".", r"\.")})
        (etc / name).write_text(text)
    write_table(layout, "virtual", virtual_aliases)
    write_table(layout, "aliases", local_aliases)
    write_table(layout, "transport", {})
    (etc / "mailboxes").write_text(_mailboxes(domains))
    overrides = dict(parameters)
    if not milter:
        overrides |= {"smtpd_milters": "", "non_smtpd_milters": ""}
    if overrides:
        settings = [f"{name} = {value}" for name, value in overrides.items()]
        subprocess.run(["postconf", "-c", str(etc), "-e", *settings], check=True)
    age(etc)


def age(etc: Path) -> None:
    """Make files look as if written a minute ago.

    Each Postfix program reads a file that is younger than a few seconds again and again,
    until it is sure that nobody is still writing: two seconds for every start.
    """
    for file in etc.iterdir():
        _age(file)


def _age(file: Path) -> None:
    past = time.time() - 60
    os.utime(file, (past, past))


def start(layout: Layout) -> Session:
    """Start it and return when both servers greet."""
    command(layout, "start")
    pid_file = layout.queue / "pid" / "master.pid"
    log = layout.logs / "postfix.log"
    wait_until(lambda: bool(_pid(pid_file)), "postfix: master", log=log)
    session = enter(layout.ledger, Session.of("postfix", _pid(pid_file)))
    for port in ("smtp", "reentry"):
        address = layout.address(port)
        wait_until(lambda a=address: greets(a, b"220 "), f"postfix: {port}", log=log)
    return session


def write_table(layout: Layout, name: str, rows: Mapping[str, str]) -> None:
    """Write one of `virtual`, `aliases`, `transport`; what runs needs a reload."""
    file = layout.postfix / "etc" / name
    file.write_text("".join(f"{key} {value}\n" for key, value in rows.items()))
    _age(file)


def reload(layout: Layout) -> None:
    """Have it read its configuration anew; return when nobody is left who has read the old one.

    Where a client is in a session that would be never.
    """
    master = _pid(layout.queue / "pid" / "master.pid")
    before = _children(master)
    command(layout, "reload")
    log = layout.logs / "postfix.log"
    wait_until(lambda: not before & _children(master), "postfix: reload", log=log)


def _children(pid: int) -> set[int]:
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def command(layout: Layout, *arguments: str) -> None:
    """Run postfix(1) on the instance: start, stop, flush."""
    # The path must be absolute: with a relative one `reload` does nothing and says nothing.
    line = ["postfix", "-c", str(layout.postfix / "etc"), *arguments]
    done = subprocess.run(line, capture_output=True, text=True, env=_environment(), check=False)
    if done.returncode:
        raise NotReady(f"{' '.join(line)}: {done.stdout}{done.stderr}")


def _environment() -> dict[str, str]:
    # Postfix takes these for its own configuration, whatever -c says.
    return {k: v for k, v in os.environ.items() if not k.startswith(("MAIL_CONFIG", "MAIL_"))}


def _pid(file: Path) -> int:
    return int(file.read_text()) if file.exists() and file.read_text().strip() else 0


def _mailboxes(domains: Sequence[str]) -> str:
    # Any mailbox exists, but those whose name says that they do not. Extensions are let
    # through: such a table is asked with the whole address only (regexp_table(5)).
    existing = (rf"/^[^@]+@{re.escape(domain)}$/ exists" for domain in domains)
    return "\n".join(["if !/^no-such-/", *existing, "endif", ""])
