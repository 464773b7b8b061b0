"""What the milter agrees on with an MTA, and that nothing less will do."""

import sys
from collections.abc import Iterator

import pytest

import milterproto as mp
import substitute_milter
from fake_keyservice import MemoryOwner
from milter_process import SUPPORT, MilterProcess

ALICE = "<alice@example.test>"
FIELDS = [(b"From", b" eve@outside.test"), (b"Subject", b" canarysubject7d21")]
BODY = b"canarybody90ee\r\n"
NEEDED_ACTIONS = mp.ADDHDRS | mp.CHGBODY | mp.ADDRCPT | mp.DELRCPT | mp.CHGHDRS | mp.ADDRCPT_PAR
NO_REPLIES = mp.NR_MAIL | mp.NR_HEADER | mp.NR_EOH | mp.NR_BODY


@pytest.fixture(scope="module")
def alice() -> MemoryOwner:
    return MemoryOwner("alice@example.test")


@pytest.fixture(scope="module")
def milter(alice: MemoryOwner) -> Iterator[MilterProcess]:
    with MilterProcess(alice) as milter:
        yield milter


def test_callbacks_that_are_not_needed_are_negotiated_away(milter: MilterProcess) -> None:
    """Connection, HELO, DATA and unknown commands are never sent to us."""
    unneeded = mp.NO_CONNECT | mp.NO_HELO | mp.NO_DATA | mp.NO_UNKNOWN
    needed = mp.NO_MAIL | mp.NO_RCPT | mp.NO_HEADERS | mp.NO_EOH | mp.NO_BODY
    with milter.client() as client:
        assert unneeded == client.protocol & (unneeded | needed)


def test_no_reply_is_sent_for_mail_header_and_body(milter: MilterProcess) -> None:
    """A round trip for each header field would cost more than the encryption."""
    with milter.client() as client:
        assert NO_REPLIES == client.protocol & (NO_REPLIES | mp.NR_RCPT)


def test_recipients_that_postfix_refuses_itself_are_not_shown(milter: MilterProcess) -> None:
    """Otherwise a refused recipient would get a copy."""
    with milter.client() as client:
        assert 0 == client.protocol & mp.RCPT_REJECTED


def test_the_leading_space_of_header_fields_is_kept(
    milter: MilterProcess, alice: MemoryOwner
) -> None:
    """`X:a`, `X: a` and `X:<tab>a` are restored as what they were."""
    fields = [(b"X", b"a"), (b"X", b" a"), (b"X", b"\ta"), (b"X", b""), (b"X", b"\n b")]
    with milter.client() as client:
        ended = client.transact([ALICE], fields, BODY)

    assert mp.HEADER_LEADING_SPACE & client.protocol
    assert b"X:a\r\nX: a\r\nX:\ta\r\nX:\r\nX:\r\n b\r\n\r\n" + BODY in alice.decrypt(
        ended.body or b""
    )


def test_an_mta_that_drops_leading_space_is_deferred(milter: MilterProcess) -> None:
    """The original could not be restored, so nothing is accepted."""
    with milter.stranger() as client:
        client.negotiate(protocol=mp.POSTFIX_PROTOCOL & ~mp.HEADER_LEADING_SPACE)
        client.mail()

        assert 451 == client.rcpt(ALICE).code


@pytest.mark.parametrize("missing", [1 << bit for bit in range(9)])
def test_an_mta_without_a_needed_action_is_deferred(milter: MilterProcess, missing: int) -> None:
    """Whoever cannot replace the body would store plaintext."""
    with milter.stranger() as client:
        client.negotiate(actions=mp.POSTFIX_ACTIONS & ~missing)
        client.mail()

        assert (451 if missing & NEEDED_ACTIONS else 250) == client.rcpt(ALICE).code


def test_what_was_not_negotiated_defers_until_the_end(milter: MilterProcess) -> None:
    """An MTA that goes on all the same gets 451 and no change."""
    with milter.stranger() as client:
        client.negotiate(protocol=mp.POSTFIX_PROTOCOL & ~mp.HEADER_LEADING_SPACE)
        client.mail()
        client.rcpt(ALICE)
        client.header(*FIELDS[0])
        client.eoh()
        client.body(BODY)
        ended = client.end()

    assert (451, None) == (ended.code, ended.body)


def test_an_mta_that_waits_for_replies_gets_them(milter: MilterProcess, alice: MemoryOwner) -> None:
    """libmilter itself answers where the MTA cannot do without; mail is encrypted as always."""
    with milter.stranger() as client:
        client.negotiate(protocol=mp.HEADER_LEADING_SPACE)
        assert 0 == client.protocol & NO_REPLIES
        client.send(b"C", b"client.outside.test\x004\0\x19192.0.2.1\0")
        assert mp.Reply(mp.CONTINUE) == client.reply()
        client.send(b"H", b"client.outside.test\0")
        assert mp.Reply(mp.CONTINUE) == client.reply()
        ended = client.transact([ALICE], FIELDS, BODY)

    assert 250 == ended.code
    assert BODY in alice.decrypt(ended.body or b"")


@pytest.mark.parametrize("version", [0, 1])
def test_a_protocol_from_before_negotiation_is_hung_up_on(
    milter: MilterProcess, version: int
) -> None:
    """Versions below 2 know no offers."""
    with milter.stranger() as client:
        client.send(b"O", version.to_bytes(4, "big") + bytes(8))

        assert client.is_closed()


@pytest.mark.parametrize(
    "where", ["mail", "rcpt", "header", "eoh", "body", "eom", "accepted", "apply"]
)
def test_an_exception_in_any_callback_ends_in_451(alice: MemoryOwner, where: str) -> None:
    """libmilter swallows those of callbacks without reply; they are not lost on us.

    The exception's text, which could quote the message, is not logged.
    """
    program = [sys.executable, str(SUPPORT / "substitute_milter.py"), "--wrong", where]
    with MilterProcess(alice, program=program) as milter, milter.client() as client:
        for _ in range(2):
            client.mail()
            reply = client.rcpt(ALICE)
            for name, value in FIELDS:
                client.header(name, value)
            client.eoh()
            client.body(BODY)
            ended = client.end()

            assert (451 if where in ("mail", "rcpt") else 250) == reply.code
            assert 451 == ended.code
        log = milter.log

    assert '"internal_error"' in log
    assert "RuntimeError" in log
    for secret in (substitute_milter.CANARY, "canarysubject7d21", "canarybody90ee"):
        assert secret not in log


def test_an_exception_while_tidying_up_harms_no_later_mail(alice: MemoryOwner) -> None:
    """What a transaction leaves behind is no concern of the next one, nor of the log."""
    program = [sys.executable, str(SUPPORT / "substitute_milter.py"), "--wrong", "discard"]
    with MilterProcess(alice, program=program) as milter, milter.client() as client:
        first = client.transact([ALICE], FIELDS, b"first\r\n")
        client.mail()
        client.abort()
        second = client.transact([ALICE], FIELDS, b"second\r\n")
        log = milter.log

    assert (250, 250) == (first.code, second.code)
    assert alice.decrypt(second.body or b"").endswith(b"\r\n\r\nsecond\r\n")
    assert substitute_milter.CANARY not in log
