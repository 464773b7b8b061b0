"""z-base-32: octets as text that people can read aloud (Zooko O'Whielacronx, 2002). Pure."""

_ALPHABET = "ybndrfg8ejkmcpqxot1uwisza345h769"


def encode(octets: bytes) -> str:
    """Return `octets` five bits a character, the last one filled up with zero bits."""
    count = (8 * len(octets) + 4) // 5
    number = int.from_bytes(octets, "big") << (5 * count - 8 * len(octets))
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(count)))
