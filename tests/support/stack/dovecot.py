"""A private Dovecot: LMTP and logins on unix sockets, IMAP on loopback, Maildirs for everybody."""

from pathlib import Path

from stack.layout import Layout
from stack.processes import Session, greets, spawn, wait_for

PASSWORD = "every-owner's"
"""Of every login: any address is one."""

# Dovecot refuses to open mail as root, and any other account will do.
_CONFIG = """\
base_dir = {run}/dovecot
state_dir = {base}/state/dovecot
log_path = {log}
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
hostname = mx.example.test
disable_plaintext_auth = no
auth_verbose = yes
recipient_delimiter = +
mail_location = {location}
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
lda_mailbox_autocreate = yes
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  unix_listener lmtp {{
    mode = 0666
  }}
}}
service auth {{
  unix_listener auth-submission {{
    mode = 0666
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
passdb {{
  driver = passwd-file
  args = {disabled}
  deny = yes
}}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={mail}/%Ld/%Ln allow_all_users=yes
}}
"""


def lmtp_socket(layout: Layout) -> Path:
    """Where Postfix hands in mail."""
    return layout.run / "dovecot" / "lmtp"


def login_socket(layout: Layout) -> Path:
    """Where Postfix asks about logins."""
    return layout.run / "dovecot" / "auth-submission"


def disabled_logins(layout: Layout) -> Path:
    """Where addresses are written, one in a line, that may not log in any more."""
    return layout.state / "disabled-logins"


def start(layout: Layout, location: str = "maildir:~/Maildir") -> Session:
    """Start it and return when LMTP and IMAP greet. `location`: its mail_location."""
    log = layout.logs / "dovecot.log"
    (layout.state / "dovecot").mkdir(exist_ok=True)
    disabled_logins(layout).touch()
    config = layout.config / "dovecot.conf"
    config.write_text(
        _CONFIG.format(
            run=layout.run,
            base=layout.base,
            log=log,
            mail=layout.mail,
            imap=layout.ports["imap"],
            password=PASSWORD,
            location=location,
            disabled=disabled_logins(layout),
        )
    )
    session = spawn("dovecot", ["dovecot", "-F", "-c", str(config)], log, layout.ledger, {})
    wait_for(session, lambda: greets(str(lmtp_socket(layout)), b"220 "), log)
    wait_for(session, lambda: greets(layout.address("imap"), b"* OK"), log)
    return session
