"""Letterlock's milter: no mail is stored in a form the provider can read.

Beside Postfix, before a message is queued, it wraps the complete original, header fields
included, into a PGP/MIME message encrypted to the recipient's own certificate. Every final
mailbox gets a copy of its own. What leaves this process unencrypted is listed in one table,
`policy.treat`. What is not understood, not reachable or not valid is deferred, never stored.
Plaintext is held in memory only, a chunk at a time.
"""
