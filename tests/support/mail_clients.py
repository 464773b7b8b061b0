"""What mail programs and deliveries do to a store while it is encrypted."""

import imaplib
import random
import smtplib
import time
from collections.abc import Callable
from threading import Thread

from mail_store import MailStore
from stack import dovecot


class Clients:
    """All that they have wished, by the numbers of messages."""

    def __init__(self, store: MailStore) -> None:
        self.store = store
        self.flagged: set[int] = set()
        self.moved: set[int] = set()
        self.removed: set[int] = set()
        self.arrived: list[int] = []
        self._chance = random.Random(7)

    def work(self, is_over: Callable[[], bool]) -> None:
        """Go on until the run is over."""
        delivery = Thread(target=self._deliver, args=(is_over,))
        delivery.start()
        with self.store.client("INBOX") as client:
            while not is_over():
                if len(self.moved | self.removed) < 100:
                    self._act(client)
                time.sleep(0.005)
        delivery.join()

    def _act(self, client: imaplib.IMAP4) -> None:
        client.noop()
        _, data = client.uid("SEARCH", "ALL")
        uid = self._chance.choice(data[0].split()).decode()
        _, found = client.uid("FETCH", uid, "(BODY.PEEK[])")
        if not found or not isinstance(found[0], tuple):
            return
        number = self.store.number(found[0][1])
        match self._chance.choice(["read", "flag", "flag", "move", "remove"]):
            case "flag":
                kind, data = client.uid("STORE", uid, "+FLAGS", r"(\Answered)")
                # It may have got another UID by now: then nothing was said of this one.
                if kind == "OK" and data != [None]:
                    self.flagged.add(number)
            case "move":
                kind, _ = client.uid("MOVE", uid, "Archive")
                _, copied = client.response("COPYUID")
                if kind == "OK" and copied != [None]:
                    self.moved.add(number)
            case "remove":
                kind, data = client.uid("STORE", uid, "+FLAGS", r"(\Deleted)")
                if kind == "OK" and data != [None]:
                    client.uid("EXPUNGE", uid)
                    if client.response("EXPUNGE")[1] != [None]:
                        self.removed.add(number)

    def _deliver(self, is_over: Callable[[], bool]) -> None:
        number = 10_000
        while not is_over():
            with smtplib.LMTP(str(dovecot.lmtp_socket(self.store.layout))) as server:
                server.sendmail(
                    "sender@outside.test",
                    [self.store.owner.address],
                    self.store.original(number),
                )
            self.arrived.append(number)
            number += 1
            time.sleep(0.1)
