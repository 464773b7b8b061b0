"""What the doctor's rules are tried on: both kinds of hosts, and probes that find nothing."""

from pathlib import Path

from host_tree import host_with
from keyservice.client import Outcome
from letterlock.config import Config, SubmissionSection
from letterlock.daemon_page import Page
from letterlock.doctor.examination import Case, examine
from letterlock.doctor.keyservice_file import ClientAuthority, Door, KeyServiceFile
from letterlock.doctor.keyservice_rules import KeyService
from letterlock.doctor.mail_rules import MailHost
from letterlock.doctor.probes import Probes
from letterlock.doctor.redis_rights import Rights
from letterlock.doctor.surroundings import Proof
from letterlock.postfix import Settings
from letterlock.postfix_findings import Expected

SETTINGS = Settings.parse(
    "queue_directory = /spool\nmail_owner = postfix\nmydestination = example.test\n"
    "smtpd_milters = unix:letterlock/milter.sock, inet:127.0.0.1:11332\n"
    "non_smtpd_milters = unix:letterlock/milter.sock",
    "\n".join(
        f"{name}/inet/{column} = {value}"
        for name, chroot, program in (("smtp", "y", "smtpd"), ("2525", "n", "smtpd"))
        for column, value in {
            "service": name,
            "type": "inet",
            "chroot": chroot,
            "command": program,
        }.items()
    ),
    "",
)
PAGE = Page.parse("letterlock_workers 2\nletterlock_workers_wanted 2\n")
SECRETS = ("cache.key", "client-ca.key", "database.key")
KEYSERVICE = KeyService(
    KeyServiceFile(
        tcp="127.0.0.1:8465",
        database_password_file="/etc/letterlock/database.key",
        client_ca=ClientAuthority(passphrase_file="/etc/letterlock/client-ca.key"),
        public=Door(socket="/run/letterlock/public.sock", tcp="127.0.0.1:8466"),
        domains={"example.test": {}},
    ),
    "/etc/letterlock/keyservice.toml",
)
MAIL_HOST = MailHost(
    config_directory="/etc/postfix",
    settings=SETTINGS,
    expected=Expected(),
    config=Config(submission=SubmissionSection(socket="unix:/s")),
    config_path="/etc/letterlock/letterlock.toml",
    keyservice=KEYSERVICE,
)
REDIS = "Redis (unix:///run/redis/redis-server.sock)"


def probes(directory: Path) -> Probes:
    """Everything answers; the host itself is an empty directory."""
    return Probes(
        host=host_with(directory),
        greet=lambda _way, _settings: "",
        ask_redis=lambda _client, _url: Rights(),
        lookup=lambda _service, _domain: Outcome.NOT_FOUND,
        page=lambda _: PAGE,
        prove=lambda _: Proof.VALIDATES,
        signing_complaint=lambda _directory, _domain: "",
        tables_complaint=lambda _: "",
        dns_complaint=lambda _nameserver, _own: "",
    )


def places(case: Case, with_probes: Probes) -> set[str]:
    """Where something is found."""
    return {finding.where for finding in examine(case, with_probes)}
