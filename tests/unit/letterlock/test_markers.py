"""A retry does not deliver twice; a new message is never taken for a retry."""

import pytest

from keyservice.client import Mailbox
from letterlock.markers import Identity, Markers
from letterlock.message import HeaderField, HeaderSection

SECRET = bytes(range(32))
ALICE, BOB = Mailbox("alice", "example.test"), Mailbox("bob", "example.test")


class Store(dict):
    """A Redis that works."""

    def set(self, name, value, seconds):
        self[name] = value

    def delete(self, names):
        for name in names:
            self.pop(name, None)


def section(**fields: str) -> HeaderSection:
    return HeaderSection(
        tuple(
            HeaderField(n.replace("_", "-").encode(), f" {v}".encode()) for n, v in fields.items()
        )
    )


FIELDS = {"Message_ID": "<1@x>", "Date": "today", "From": "a@x", "To": "b@y", "Subject": "hi"}


def markers(store: Store, sender="a@x", body=(b"one", b"two"), secret=SECRET, **fields) -> Markers:
    identity = Identity(secret, sender, section(**(FIELDS | fields)))
    for chunk in body:
        identity.update(chunk)
    return Markers(store, identity)


def test_an_accepted_copy_is_known_at_the_next_attempt():
    """And only for the mailbox whose copy it was."""
    store = Store()
    markers(store).accepted(ALICE)

    assert (True, False) == tuple(markers(store).accepted_before(m) for m in (ALICE, BOB))


def test_the_attempts_may_differ_in_what_filters_before_us_write():
    """Fields that other milters add differ with every attempt."""
    store = Store()
    markers(store, X_Spam_Score="1").accepted(ALICE)

    assert markers(store, body=(b"onetwo",), X_Spam_Score="2").accepted_before(ALICE)


@pytest.mark.parametrize(
    "difference",
    [
        {"sender": "c@x"},
        {"body": (b"one",)},
        {"Subject": "ho"},
        {"Message_ID": "<2@x>"},
        {"secret": bytes(32)},
    ],
)
def test_another_message_is_another_message(difference):
    """One octet of the body or of an identifying field is enough."""
    store = Store()
    markers(store).accepted(ALICE)

    assert not markers(store, **difference).accepted_before(ALICE)


def test_once_all_is_accepted_the_same_message_may_be_sent_again():
    """Somebody who sends a message twice on purpose gets it delivered twice."""
    store = Store()
    first = markers(store)
    first.accepted(ALICE)
    retry = markers(store)
    retry.accepted_before(ALICE)
    retry.clear()

    assert not markers(store).accepted_before(ALICE)
    assert {} == store


def test_redis_cannot_make_a_marker_up():
    """A value under the right name is not enough: it would cost a message."""
    store = Store()
    markers(store).accepted(ALICE)
    for name in store:
        store[name] = b"accepted"

    assert not markers(store).accepted_before(ALICE)


def test_redis_learns_nothing_of_the_message():
    """Neither addresses nor a hash that somebody without the secret could compare."""
    store = Store()
    markers(store, Subject="canary-4711").accepted(ALICE)

    shown = repr(dict(store)).encode()
    assert b"canary" not in shown
    assert b"alice" not in shown
