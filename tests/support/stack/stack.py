"""The whole stack as one object: start it, send mail, look at what became of it, stop it."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from keyservice.mailbox import Mailbox
from keyservice.operator_client import OperatorClient
from stack import daemons, dovecot, postfix, redis_server, smtp
from stack.layout import Layout
from stack.processes import STOP_SECONDS, NotReady, Session, entered
from stack.submitting import Submitting
from stack.view import View

DOMAIN = "example.test"


class Stack(View, Submitting):
    """One private stack in a directory; a context manager that starts and stops it.

    `domains`: served domains with their policy settings, as in the key service's file.
    `virtual_aliases`, `local_aliases`: rows of virtual(5) and aliases(5).
    `parameters`: further main.cf settings. `milter=False`: the same Postfix without it.
    `untraced`: deliver without this host's Received fields. `notices`: owners are told about
    their certificates. `environment`: further variables for the two daemons. Any mailbox of
    a domain exists unless its name begins with `no-such-`.

    `submission`: users hand in mail, too (`submit`). `authentication`: settings of the
    milter's section, such as `nameserver`; None: it is off, and no DNS is asked. `relays`:
    where mail for domains of others goes, as HOST:PORT; no other mail leaves. `hostname`:
    Postfix's, and the authserv-id; two stacks that send each other mail need two.
    """

    def __init__(
        self,
        directory: Path,
        *,
        domains: Mapping[str, Mapping[str, object]] | None = None,
        virtual_aliases: Mapping[str, str] | None = None,
        local_aliases: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
        milter: bool = True,
        untraced: bool = False,
        workers: int = 2,
        deadline_seconds: float = 5.0,
        stale_seconds: int = 3600,
        notices: bool = False,
        environment: Mapping[str, str] | None = None,
        submission: bool = False,
        authentication: Mapping[str, object] | None = None,
        relays: Mapping[str, str] | None = None,
        hostname: str = postfix.HOSTNAME,
    ) -> None:
        """Lay everything out; nothing runs yet."""
        if any(session.members() for session in entered(directory.resolve() / "started.jsonl")):
            raise NotReady(f"{directory}: a stack is running there already")
        self.layout = Layout.create(directory)
        self._sessions: dict[str, Session] = {}
        self._has_submission = submission
        environment = dict(environment or {})
        domains = domains or {DOMAIN: {}}
        layout = self.layout
        self._starters: dict[str, Callable[[], Session]] = {
            "redis": lambda: redis_server.start(layout),
            "keyservice": lambda: daemons.start_keyservice(layout, environment),
            "dovecot": lambda: dovecot.start(layout),
            "milter": lambda: daemons.start_milter(layout, environment),
            "postfix": lambda: postfix.start(layout),
        }
        if not milter:
            self._starters = {k: self._starters[k] for k in ("dovecot", "postfix")}
        postfix.write_config(
            layout,
            hostname=hostname,
            domains=list(domains),
            virtual_aliases=virtual_aliases or {},
            local_aliases=local_aliases or {},
            parameters=parameters or {},
            milter=milter,
            untraced=untraced,
            has_submission=submission,
        )
        self.relay(relays or {})
        daemons.write_milter_config(
            layout,
            hostname=hostname,
            workers=workers,
            deadline_seconds=deadline_seconds,
            stale_seconds=stale_seconds,
            authentication=authentication,
            has_submission=submission,
        )
        daemons.write_keyservice_config(layout, domains, notices=notices, has_submission=submission)

    def start(self) -> Self:
        """Start every daemon and write `stack.json`; on failure stop what had started."""
        try:
            for name in self._starters:
                self.start_daemon(name)
        except BaseException:
            self.stop()
            raise
        self._describe()
        return self

    def start_daemon(self, name: str) -> None:
        """Start one of redis, keyservice, dovecot, milter, postfix; return when it is ready."""
        self._sessions[name] = self._starters[name]()
        if name == "keyservice" and self._has_submission:
            self.require_authority()

    def stop_daemon(self, name: str, seconds: float = STOP_SECONDS) -> None:
        """End one daemon in an orderly way and return when all its processes are gone."""
        if name == "postfix":
            with suppress(NotReady):
                postfix.command(self.layout, "stop")
        self._sessions[name].stop(seconds)

    def signal_daemon(self, name: str, number: int, *, children: bool = False) -> None:
        """Send a signal to a daemon's first process, or to all of them."""
        session = self._sessions[name]
        members = session.members()
        for pid in members if children else [p for p in members if p == session.leader]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill_daemon(self, name: str) -> None:
        """SIGKILL to all processes of a daemon."""
        self._sessions[name].stop(0)

    def pids(self, name: str) -> list[int]:
        """Return the living processes of a daemon."""
        return self._sessions[name].members()

    def stop(self) -> None:
        """End everything that was started from this directory, by whichever process."""
        down(self.layout.directory)

    def __enter__(self) -> Self:
        """See `start`."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """See `stop`; also remove what is not in the directory."""
        down(self.layout.directory, forget=True)

    def send(
        self,
        message: bytes,
        to: Sequence[str] | str,
        sender: str = "sender@outside.test",
        options: Sequence[str] = (),
    ) -> smtp.Sent:
        """Hand `message` (CRLF line ends, octets as they are) to Postfix's public server.

        `options`: of MAIL, such as BODY=8BITMIME. Raises smtplib.SMTPResponseException
        with the reply if the message, or every recipient, was refused.
        """
        recipients = [to] if isinstance(to, str) else list(to)
        return smtp.send(self.layout.address("smtp"), message, recipients, sender, options)

    def relay(self, routes: Mapping[str, str]) -> None:
        """Send mail for domains of others to HOST:PORT; before the start, or with a reload."""
        rows = {}
        for domain, address in routes.items():
            host, _, port = address.rpartition(":")
            # In brackets: not a domain whose MX is to be looked up (transport(5)).
            rows[domain] = f"smtp:[{host}]:{port}"
        postfix.write_table(self.layout, "transport", rows)

    def sendmail(self, message: bytes, to: str, sender: str = "daemon@mx.example.test") -> None:
        """Hand `message` to sendmail(1), as a program on the mail host would."""
        etc = str(self.layout.postfix / "etc")
        command = ["/usr/sbin/sendmail", "-C", etc, "-i", "-f", sender, "--", to]
        subprocess.run(command, input=message.replace(b"\r\n", b"\n"), check=True)

    def enrol(self, address: str, certificate: bytes) -> None:
        """Have `certificate` used for `address` from now on."""
        self.operator.enrol(Mailbox.parse(address), certificate)

    @property
    def operator(self) -> OperatorClient:
        """The operator's client of the key service."""
        return OperatorClient(f"unix:{daemons.keyservice_socket(self.layout)}")

    def _describe(self) -> None:
        layout = self.layout
        description = {
            "smtp": "{}:{}".format(*layout.address("smtp")),
            "reentry": "{}:{}".format(*layout.address("reentry")),
            "imap": "{}:{}".format(*layout.address("imap")),
            "password": dovecot.PASSWORD,
            "lmtp": str(dovecot.lmtp_socket(layout)),
            "lmtp_maildir": f"{layout.mail}/{{domain}}/{{local}}/Maildir",
            "keyservice": daemons.keyservice_socket(layout),
            "redis": redis_server.url(layout),
            "metrics": {n: self.metrics_url(n) for n in ("milter", "keyservice")},
            "queue_directory": str(layout.queue),
            "config": {
                "milter": str(layout.config / "letterlock.toml"),
                "keyservice": str(layout.config / "keyservice.toml"),
                "redis": str(layout.config / "redis.conf"),
                "dovecot": str(layout.config / "dovecot.conf"),
                "postfix": str(layout.postfix / "etc"),
            },
            "logs": str(layout.logs),
            "pids": {name: session.leader for name, session in self._sessions.items()},
        }
        text = json.dumps(description, indent=2)
        (layout.directory / "stack.json").write_text(f"{text}\n")


def down(directory: Path, *, forget: bool = False) -> None:
    """End everything that was started from `directory`. Nothing to do is no error.

    What was stored stays to be looked at, unless it is to `forget` and not in the directory.
    """
    directory = directory.resolve()
    ledger = directory / "started.jsonl"
    sessions = entered(ledger)[::-1]
    # Some take a second, but they need not take it one after the other.
    for session in sessions:
        session.ask_to_end()
    for session in sessions:
        session.end()
    run, base = directory / "run", directory / "base"
    if run.is_symlink() and (forget or not base.is_symlink()):
        shutil.rmtree(run.resolve(), ignore_errors=True)
        base.unlink(missing_ok=True)
    for path in (run, ledger, directory / "stack.json"):
        path.unlink(missing_ok=True)
