"""Mail that does not come in by smtpd, and copies that nobody asked the milter about."""

import os
import smtplib
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from delivered import Delivered, deliver, deliver_one, watch
from stack import Owner, Stack, postfix, wait_until

MAIL = b"From: Bob <bob@sender.example>\r\nSubject: canary\r\n\r\ncanary\r\n"


def _sendmail(stack: Stack, mail: bytes, *arguments: str) -> None:
    """Hand mail in as a program of this host does."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAIL")}
    etc = str(stack.layout.postfix / "etc")
    subprocess.run(
        ["sendmail", "-C", etc, *arguments], input=mail, env=environment, check=True, timeout=60
    )


def _readable(stack: Stack) -> list[bytes]:
    """Return what is stored with a canary in the clear, of all mailboxes of the stack."""
    files = [path for path in stack.layout.mail.rglob("*") if path.is_file()]
    return [octets for path in files if b"canary" in (octets := path.read_bytes())]


@pytest.fixture
def _nothing_readable(stack: Stack) -> Iterator[None]:
    before = len(_readable(stack))
    yield
    assert before == len(_readable(stack))


@pytest.mark.usefixtures("_nothing_readable")
def test_sendmail_and_pickup(stack: Stack, alice: Owner) -> None:
    """non_smtpd_milters: what cron and its like write is encrypted as well."""
    mail = MAIL.replace(b"\r\n", b"\n")
    to = alice.address
    stored = watch(stack, [to], lambda: _sendmail(stack, mail, "-f", "cron@mx.example.test", to))

    (copy,) = stored[to]
    assert copy.is_wrapped
    assert b"Subject: canary\r\n" in copy.original(alice)


@pytest.mark.usefixtures("_nothing_readable")
def test_sendmail_to_a_route(stack: Stack, alice: Owner) -> None:
    """cleanup(8) has taken it apart before it asks the milter."""
    to = "example.test!alice"
    stored = watch(stack, [alice.address], lambda: _sendmail(stack, b"Subject: canary\n\n", to))

    (copy,) = stored[alice.address]
    assert b"Subject: canary\r\n" in copy.original(alice)


@pytest.mark.usefixtures("_nothing_readable")
def test_sendmail_to_a_local_alias(stack: Stack, alice: Owner, bob: Owner) -> None:
    """local(8) expands it behind the milter; what it forwards is encrypted already."""
    owners = [alice, bob]
    stored = watch(
        stack,
        [owner.address for owner in owners],
        lambda: _sendmail(stack, b"Subject: canary\n\ncanary\n", "staff@mx.example.test"),
    )

    for owner in owners:
        (copy,) = stored[owner.address]
        assert b"Subject: canary\r\n" in copy.original(owner)


def _send_as_written(stack: Stack, forward_path: str) -> int:
    """Send MAIL to what smtplib would tidy up; return the code of the last reply."""
    with smtplib.SMTP(*stack.layout.address("smtp"), timeout=60) as server:
        server.ehlo()
        server.docmd("MAIL FROM:<sender@outside.test>")
        code, _ = server.docmd(f"RCPT TO:<{forward_path}>")
        return server.data(MAIL)[0] if code == 250 else code


@pytest.mark.usefixtures("_nothing_readable")
@pytest.mark.parametrize(
    "forward_path",
    [
        "alice%example.test@mx.example.test",
        "alice%example.test@localhost",
        "alice%example.test",
        "alice%example.test%localhost@mx.example.test",
        "example.test!alice",
        "example.test!alice@mx.example.test",
        "mx.example.test!example.test!alice",
        "info%example.test@mx.example.test",
        '"alice@example.test"@mx.example.test',
        '"alice@example.test"',
        "alice@example.test@mx.example.test",
        "@relay.test:alice@example.test",
        "@relay.test,@mx.example.test:alice@example.test",
        "alice(comment)@example.test",
        "alice @example.test",
        "alice@example.test (comment)",
        '"alice"@example.test',
        "\\alice@example.test",
        "Alice <alice@example.test>",
        "root@[127.0.0.1]",
        "archived@mx.example.test",
        "members@mx.example.test",
    ],
)
def test_an_address_that_postfix_would_rewrite(
    stack: Stack, alice: Owner, forward_path: str
) -> None:
    """It is refused: the mailbox behind it is not the one that was looked up."""
    codes: list[int] = []
    stored = watch(
        stack, [alice.address], lambda: codes.append(_send_as_written(stack, forward_path))
    )

    assert [] == stored[alice.address]
    assert codes[0] in (451, 501, 553)


@pytest.mark.usefixtures("_nothing_readable")
@pytest.mark.parametrize(
    "forward_path",
    ["alice@example.test.", "info@example.test.", "root@mx.example.test.", "postmaster", "root"],
)
def test_an_address_that_postfix_completes(stack: Stack, alice: Owner, forward_path: str) -> None:
    """RFC 5321 §4.5.1 wants <postmaster>; a final dot is what some senders write."""
    stored = watch(stack, [alice.address], lambda: _send_as_written(stack, forward_path))

    assert [MAIL] == [copy.original(alice) for copy in stored[alice.address]]


@pytest.mark.usefixtures("_nothing_readable")
@pytest.mark.parametrize(
    ("to", "code"),
    [
        ("newcomer@example.test", "4.7.5"),
        ("newcomer@reject.test", "5.7.5"),
        ("alice%example.test@localhost", "5.1.3"),
    ],
)
def test_sendmail_to_a_mailbox_that_is_refused(stack: Stack, to: str, code: str) -> None:
    """Nobody hears a reply there: the mail waits in the maildrop, and nothing is delivered."""
    log = len(stack.postfix_log())
    _sendmail(stack, b"Subject: canary\n\ncanary\n", to)
    wait_until(lambda: code in stack.postfix_log()[log:], "milter's answer")

    waiting = [path for path in stack.queue_files() if path.parent.name == "maildrop"]

    assert 1 == len(waiting)
    for path in stack.queue_files():
        path.unlink(missing_ok=True)


@pytest.mark.usefixtures("_nothing_readable")
def test_a_bounce_that_carries_the_original(stack: Stack, alice: Owner) -> None:
    """internal_mail_filter_classes: Alice's own mail comes back to her, encrypted."""
    to = "gone@bounce.test"
    stored = deliver(stack, MAIL, to, into=[alice.address], sender=alice.address)

    (bounce,) = stored[alice.address]
    assert bounce.is_wrapped
    assert [b"<>"] == bounce.shown(b"return-path")
    original = bounce.original(alice)
    assert b"Content-Type: message/rfc822" in original
    assert b"Subject: canary\r\n" in original


def test_a_bounce_to_a_mailbox_that_is_not_ready(stack: Stack) -> None:
    """It cannot be written and is tried again; nothing is stored in the clear meanwhile."""
    sender = "newcomer@example.test"
    log = len(stack.postfix_log())
    stack.send(MAIL, "gone@bounce.test", sender=sender)
    wait_until(lambda: "bounce failed" in stack.postfix_log()[log:], "bounce")

    assert [] == stack.maildir(sender)
    for entry in stack.queue():
        _postfix(stack, "postsuper", "-d", str(entry["queue_id"]))


def test_the_reentry_port_is_loopback_only(stack: Stack) -> None:
    """It has no milters: who reaches it stores what he likes."""
    port = stack.layout.ports["reentry"]
    rows = [line.split()[1:4] for file in ("tcp", "tcp6") for line in _table(file)]
    listening = [address for address, _, state in rows if state == "0A"]

    # proc(5): octets of the address in host order, then the port.
    assert [f"0100007F:{port:04X}"] == [a for a in listening if a.endswith(f":{port:04X}")]
    with socket.create_connection(stack.layout.address("reentry"), timeout=30) as peer:
        assert b"220 " in peer.recv(512)


def _table(name: str) -> list[str]:
    with open(f"/proc/net/{name}") as file:
        return file.readlines()[1:]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, alice: Owner, bob: Owner) -> Iterator[Stack]:
    """A stack whose Postfix the tests may configure as they like."""
    stack = Stack(tmp_path_factory.mktemp("own"), workers=1)
    with stack:
        for owner in (alice, bob):
            stack.enrol(owner.address, owner.certificate)
        yield stack


@contextmanager
def _configured(stack: Stack, setting: str) -> Iterator[None]:
    name = setting.partition(" ")[0]
    _postfix(stack, "postconf", "-e", setting)
    postfix.reload(stack.layout)
    try:
        yield
    finally:
        _postfix(stack, "postconf", "-X", name)
        postfix.reload(stack.layout)


@pytest.mark.parametrize("name", ["always_bcc", "recipient_bcc_maps"])
def test_recipients_that_cleanup_adds(own: Stack, alice: Owner, bob: Owner, name: str) -> None:
    """No milter sees them: they get what they cannot read."""
    values = {"always_bcc": bob.address, "recipient_bcc_maps": f"static:{bob.address}"}
    with _configured(own, f"{name} = {values[name]}"):
        stored = deliver(own, MAIL, alice.address, into=[alice.address, bob.address])

    assert [] == _readable(own)
    assert [MAIL] == [copy.original(alice) for copy in stored[alice.address]]
    assert [True] == [_is_unreadable(copy, bob) for copy in stored[bob.address]]


def test_a_queued_mail_that_is_put_back(own: Stack, alice: Owner) -> None:
    """postsuper -r passes no milter in Postfix 3.7; what was encrypted stays as it is."""
    with _configured(own, "defer_transports = lmtp"):
        own.send(MAIL, alice.address)
        wait_until(lambda: any(e["queue_name"] == "deferred" for e in own.queue()), "deferral")

    stored = watch(own, [alice.address], lambda: _put_back(own))

    (copy,) = stored[alice.address]
    assert b"canary" not in copy.octets
    assert copy.is_wrapped
    assert MAIL == copy.original(alice)


def test_what_a_deferred_queue_file_still_holds(own: Stack, alice: Owner) -> None:
    """Of the body a few dozen octets at most; the README says what else (header fields do stay)."""
    lines = [b"secret line %05d" % number for number in range(2_000)]
    with _configured(own, "defer_transports = lmtp"):
        own.send(b"Subject: x\r\n\r\n" + b"\r\n".join(lines) + b"\r\n", alice.address)
        wait_until(lambda: any(e["queue_name"] == "deferred" for e in own.queue()), "deferral")
        (raw,) = [path.read_bytes() for path in own.queue_files()]
        _postfix(own, "postsuper", "-d", "ALL")

    assert 64 >= sum(len(line) for line in lines if line in raw)


def _put_back(stack: Stack) -> None:
    _postfix(stack, "postsuper", "-r", "ALL")
    # pickup(8) would look once a minute.
    _postfix(stack, "postkick", "public", "pickup", "W")


def _postfix(stack: Stack, program: str, *arguments: str) -> None:
    etc = str(stack.layout.postfix / "etc")
    subprocess.run([program, "-c", etc, *arguments], check=True, capture_output=True)


def _is_unreadable(copy: Delivered, owner: Owner) -> bool:
    try:
        owner.read(copy.octets)
    except subprocess.CalledProcessError:
        return True
    return False


def test_the_shared_stack_still_works(stack: Stack, alice: Owner) -> None:
    """Nothing of all this is left in its queue."""
    assert MAIL == deliver_one(stack, MAIL, alice.address).original(alice)
