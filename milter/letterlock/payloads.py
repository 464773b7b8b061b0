"""The ciphertexts of one transaction: what is encrypted once for all who may share it."""

from letterlock.ciphertext import Ciphertext, Spill
from letterlock.errors import SpillFailed
from letterlock.header_protection import inexact, payload_head
from letterlock.openpgp.scratch import Scratch
from letterlock.transaction import Transaction


def begin(transaction: Transaction, spill: Spill) -> None:
    """Begin one for every payload form and SEIPD version that a recipient needs.

    What the message says of itself (`recorded`) must be known. Raises SpillFailed.
    """
    section, recorded = transaction.section, transaction.recorded
    for recipient in transaction.recipients.values():
        needed = recipient.form, recipient.seipd
        if recipient.subkeys and needed not in transaction.ciphertexts:
            ciphertext = Ciphertext(recipient.seipd, spill)
            transaction.ciphertexts[needed] = ciphertext
            ciphertext.write(payload_head(section, recipient.form, inexact(section), recorded))


def begin_late(transaction: Transaction, spill: Spill) -> None:
    """Begin them at the end of a message whose body is `held`. Raises SpillFailed."""
    begin(transaction, spill)
    if transaction.held is None:
        return
    for piece in transaction.held.read():
        for ciphertext in transaction.ciphertexts.values():
            ciphertext.write(piece)
    transaction.held.discard()
    transaction.held = None


def write(transaction: Transaction, chunk: bytes) -> None:
    """Take some more of the body. Raises SpillFailed."""
    if transaction.held is not None:
        set_aside(transaction.held, chunk)
    for ciphertext in transaction.ciphertexts.values():
        ciphertext.write(chunk)


def close(transaction: Transaction) -> None:
    """Finish them. Raises SpillFailed."""
    for ciphertext in transaction.ciphertexts.values():
        ciphertext.close()


def set_aside(scratch: Scratch, chunk: bytes) -> None:
    """Write to `scratch`. Raises SpillFailed."""
    try:
        scratch.write(chunk)
    except OSError as error:
        raise SpillFailed(f"spill file: {error.strerror}") from None
