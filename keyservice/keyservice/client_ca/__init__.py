"""A small certification authority: X.509 client certificates for the mailboxes of our domains.

One certificate names one mailbox and is good for submitting mail in its name, nothing else.
Only this package imports `cryptography`'s X.509.
"""
