"""OpenPGP (RFC 9580) as far as a mail filter needs it: write encrypted messages, recognise them.

Nothing here decrypts, decompresses, signs or judges certificates: the subkeys that are
encrypted to were vetted by the key service. The only importer of `cryptography`.
"""

from letterlock.openpgp.armor import Armor, Dearmor, MalformedArmor
from letterlock.openpgp.reader import Container, EncryptedMessage, NotEncrypted, PacketWalker
from letterlock.openpgp.seipd import EncryptedData, SEIPDVersion, SessionKey
from letterlock.openpgp.subkey import RecipientSubkey, UnusableSubkey

__all__ = [
    "Armor",
    "Container",
    "Dearmor",
    "EncryptedData",
    "EncryptedMessage",
    "MalformedArmor",
    "NotEncrypted",
    "PacketWalker",
    "RecipientSubkey",
    "SEIPDVersion",
    "SessionKey",
    "UnusableSubkey",
]
