"""Messages of a submission, signed for the domain of their author before they leave."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from letterlock.dkim.body_hash import BodyHasher
from letterlock.dkim.signing import BODY_HASH, sign
from letterlock.outgoing import Builds, Outgoing
from letterlock.plan import Treated
from letterlock.policy import Treatment
from letterlock.transaction import Transaction

_STAYING = frozenset({Treatment.WRAP, Treatment.HEADER})
"""What is encrypted for a mailbox of ours does not leave."""


@dataclass(frozen=True, slots=True)
class Signed:
    """`outgoing.Builds`, with DKIM signatures (RFC 6376) over what `builder` makes."""

    builder: Builds
    clock: Callable[[], float]
    days: int
    """How long a signature lasts; 0: without end."""

    def build(self, transaction: Transaction, treated: Treated) -> Outgoing:
        """See `outgoing.Builds`. Raises SigningImpossible."""
        built = self.builder.build(transaction, treated)
        submitted = transaction.submitted
        if submitted is None or submitted.signers is None or treated.treatment in _STAYING:
            return built
        body = submitted.body if built.body is None else _hashed(built)
        signatures = sign(
            built.header.fields,
            body,
            submitted.author.address.domain,
            submitted.signers,
            int(self.clock()),
            self.days,
        )
        header = replace(built.header, top=(*signatures, *built.header.top))
        return replace(built, header=header)


def _hashed(built: Outgoing) -> BodyHasher:
    hasher = BodyHasher([BODY_HASH])
    for piece in built.body or ():
        hasher.write(piece)
    hasher.close()
    return hasher
