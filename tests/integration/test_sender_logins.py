"""smtpd_sender_login_maps means to us what it means to Postfix."""

import smtplib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyservice.client import Mailbox, Sender
from letterlock.message import HeaderField, HeaderSection
from letterlock.origins import NotAllowed
from letterlock.postfix_tables import PostfixTables, Resolver
from letterlock.senders import Identity, require_own
from stack import Stack

LOGINS = """\
Full@example.test anna, bert@example.test  Carol
@catch.test catcher
localname dave
localx+y erin
tagged+t@example.test frank
empty@example.test ,
complete@example.test anna@mx.example.test
"""
PATTERNS = "/^re@/ gina\n/^tagre@/ gina\n"
CASES = [
    ("anna", "full@example.test"),
    ("ANNA", "FULL@example.test"),
    ("anna@example.test", "full@example.test"),
    ("bert@example.test", "full@example.test"),
    ("bert", "full@example.test"),
    ("carol", "full@example.test"),
    ("anna", "full+ext@example.test"),
    ("anna", "unknown@example.test"),
    ("catcher", "any@catch.test"),
    ("dave", "localname@mx.example.test"),
    ("dave", "localname@origin.test"),
    ("dave", "localname@localhost"),
    ("dave", "localname@example.test"),
    ("dave", "localname+z@origin.test"),
    ("erin", "localx+y@origin.test"),
    ("erin", "localx@origin.test"),
    ("frank", "tagged+t@example.test"),
    ("frank", "tagged@example.test"),
    ("anna", "empty@example.test"),
    ("anna", "complete@example.test"),
    ("gina", "re@example.test"),
    ("gina", "tagre+ext@example.test"),
    ("dave", ""),
]


@pytest.fixture(scope="module")
def postfix() -> Iterator[Stack]:
    """A Postfix that asks the table, and believes us about who has logged in."""
    with tempfile.TemporaryDirectory(prefix="logins-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "exact").write_text(LOGINS)
        (directory / "patterns").write_text(PATTERNS)
        parameters = {
            "myorigin": "origin.test",
            "smtpd_sender_login_maps": f"texthash:{name}/exact, regexp:{name}/patterns",
            "smtpd_sender_restrictions": "reject_sender_login_mismatch",
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_authorized_xclient_hosts": "127.0.0.1",
            "smtpd_delay_reject": "no",
        }
        with Stack(directory / "stack", milter=False, parameters=parameters) as running:
            yield running


def _by_postfix(postfix: Stack, login: str, reverse_path: str) -> bool:
    with smtplib.SMTP(*postfix.layout.address("smtp")) as client:
        client.ehlo("client.test")
        # XCLIENT_README: as if that login had been authenticated.
        assert client.docmd(f"XCLIENT LOGIN={login}")[0] == 220
        client.ehlo("client.test")
        code, text = client.docmd(f"MAIL FROM:<{reverse_path}>")
    assert code in (250, 553), text
    return code == 250


def _by_us(tables: Resolver, login: str, reverse_path: str) -> bool:
    def ask(mailbox: Mailbox) -> Sender:
        return Sender(mailbox=mailbox.key, is_ours=True)

    # What the header names is allowed, to the same login: only the envelope is in question.
    own = login if "@" in login else f"{login}@origin.test"
    section = HeaderSection((HeaderField(b"From", b" " + own.encode()),))
    try:
        require_own(Identity(login), reverse_path, section, tables, ask)
    except NotAllowed as refused:
        if not str(refused).startswith("MAIL FROM"):
            raise
        return False
    return True


def test_it_decides_as_postfix_does(postfix: Stack) -> None:
    """Order of keys, extensions, myorigin, patterns, and how logins are compared."""
    tables = Resolver(PostfixTables(str(postfix.layout.postfix / "etc")))

    expected = {case: _by_postfix(postfix, *case) for case in CASES}

    assert expected == {case: _by_us(tables, *case) for case in CASES}
    assert {True, False} == set(expected.values())
