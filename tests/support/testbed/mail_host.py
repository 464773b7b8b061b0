"""A mail host as an operator has it before Letterlock comes: Postfix, Dovecot, TLS."""

import imaplib
import smtplib
import ssl

from testbed.host import Host

PASSWORD = "every-owner's"
"""Of every mailbox."""

_MAIN = {
    "myhostname": "{name}",
    "mydestination": "localhost",
    "inet_interfaces": "all",
    "inet_protocols": "ipv4",
    "mynetworks": "127.0.0.0/8 [::1]/128",
    "virtual_mailbox_domains": "{domain}",
    "virtual_mailbox_maps": "texthash:/etc/postfix/mailboxes",
    "virtual_alias_maps": "texthash:/etc/postfix/aliases-of-domains",
    "virtual_transport": "lmtp:unix:private/dovecot-lmtp",
    "smtpd_tls_chain_files": "/etc/ssl/private/mail.pem",
    "smtpd_tls_security_level": "may",
    "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
    # Tests send much from one address.
    "smtpd_client_connection_count_limit": "0",
}

_DOVECOT = """\
protocols = imap lmtp
ssl = required
ssl_cert = </etc/ssl/private/mail.pem
ssl_key = </etc/ssl/private/mail.pem
mail_location = maildir:~/Maildir
first_valid_uid = 1
mail_uid = vmail
mail_gid = vmail
auth_username_format = %Lu
passdb {
  driver = static
  args = password=%s
}
userdb {
  driver = static
  args = uid=vmail gid=vmail home=/var/vmail/%%Ld/%%Ln allow_all_users=yes
}
service lmtp {
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    mode = 0600
    user = postfix
    group = postfix
  }
}
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
    user = postfix
    group = postfix
  }
}
"""

# For an Unbound that comes later. Without a way out no signature of the root can be had; and
# `test` is a name of nobody's to it (RFC 6761).
_RESOLVER = """\
server:
  module-config: "iterator"
  local-zone: "test." nodefault
"""

# For one that validates, as an operator's does; but of this one no signature can be had, so DNSSEC
# ends where the testbed begins.
_VALIDATING = """\
server:
  domain-insecure: "test."
  local-zone: "test." nodefault
forward-zone:
  name: "."
  forward-addr: {address}
"""

STRANGER = "you@elsewhere.test"

_OWN_ADDRESSES = "/^([^@+]+)(\\+[^@]*)?@(.+)$/ ${1}@${3}\n"
"""Everybody owns his own address (postfix-conf/README.md)."""


class MailHost:
    """Postfix and Dovecot for one domain on a host."""

    def __init__(self, host: Host, domain: str, mailboxes: list[str]) -> None:
        """Configure and start both; `mailboxes`: local parts."""
        self.host = host
        self.domain = domain
        self._certify()
        host.run("useradd --system --create-home --home-dir /var/vmail vmail")
        host.write("/etc/dovecot/dovecot.conf", _DOVECOT.replace("%s", PASSWORD).replace("%%", "%"))
        addresses = [f"{name}@{domain}" for name in mailboxes]
        host.write("/etc/postfix/mailboxes", "".join(f"{a} {a}\n" for a in addresses))
        host.write("/etc/postfix/aliases-of-domains", f"postmaster@{domain} {addresses[0]}\n")
        host.write("/etc/postfix/own_addresses", _OWN_ADDRESSES)
        know_names(host)
        values = (
            f"'{name}={value.format(name=host.fqdn, domain=domain)}'"
            for name, value in _MAIN.items()
        )
        host.run(f"postconf -e {' '.join(values)}")
        host.run("systemctl restart dovecot postfix")

    @property
    def tls(self) -> ssl.SSLContext:
        """What trusts this host's servers and no others."""
        context = ssl.create_default_context(cadata=self._certificate)
        # They are reached by their address.
        context.check_hostname = False
        return context

    def have_dns_validated(self, forwarder: str) -> None:
        """Configure an Unbound that comes later as operators do."""
        text = _VALIDATING.format(address=forwarder)
        self.host.write("/etc/unbound/unbound.conf.d/testbed.conf", text)

    def send(self, subject: str, to: str) -> None:
        """Hand in a mail from outside, with that subject and the text `the words`."""
        text = f"From: {STRANGER}\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: {_id(subject)}"
        with smtplib.SMTP(self.host.address, local_hostname="elsewhere.test", timeout=60) as server:
            server.sendmail(STRANGER, [to], f"{text}\r\n\r\nthe words\r\n")

    def wait_for(self, subject: str, local_part: str) -> bytes:
        """Return that mail as it is in a mailbox, as soon as it is there."""
        found: list[bytes] = []

        def is_there() -> bool:
            found.extend(self.stored(local_part, "HEADER", "Message-ID", _id(subject)))
            return bool(found)

        self.host.wait(is_there, f"mail: {subject}")
        return found[0]

    def stored(self, local_part: str, *search: str) -> list[bytes]:
        """Return mails that IMAP finds in a mailbox; `search` as in RFC 3501 §6.4.4."""
        with imaplib.IMAP4_SSL(self.host.address, ssl_context=self.tls, timeout=60) as imap:
            imap.login(f"{local_part}@{self.domain}", PASSWORD)
            imap.select(readonly=True)
            _, (numbers, *_) = imap.search(None, *(search or ("ALL",)))
            if not numbers:
                return []
            _, parts = imap.fetch(",".join(numbers.decode().split()), "(BODY.PEEK[])")
            return [part[1] for part in parts if isinstance(part, tuple)]

    def count(self, local_part: str) -> int:
        """Return how many mails are in a mailbox."""
        where = f"/var/vmail/{self.domain}/{local_part}/Maildir"
        return int(self.host.run(f"find {where} -path '*/new/*' -o -path '*/cur/*' | wc -l"))

    def _certify(self) -> None:
        self.host.run(
            "umask 077; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
            f"-subj /CN={self.host.fqdn} -days 30 -keyout /tmp/key -out /tmp/crt 2>/dev/null && "
            "cat /tmp/key /tmp/crt >/etc/ssl/private/mail.pem"
        )
        self._certificate = self.host.run("cat /tmp/crt; rm /tmp/key /tmp/crt")


def know_names(host: Host) -> None:
    """Have an Unbound that comes later find the names of the testbed."""
    host.run("mkdir -p /etc/unbound/unbound.conf.d")
    host.write("/etc/unbound/unbound.conf.d/testbed.conf", _RESOLVER)


def _id(subject: str) -> str:
    return f"<{subject.replace(' ', '.')}@elsewhere.test>"
