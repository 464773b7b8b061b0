"""DKIM (RFC 6376, RFC 8463) and ARC (RFC 8617): mail of ours is signed, of others verified.

The only importer of dkimpy. Bodies are hashed while they stream past.
"""
