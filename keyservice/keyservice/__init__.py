"""Letterlock's key service: which certificate mail to a mailbox may be encrypted to, and why.

It vets the certificates it is given, remembers them in a database with the evidence for each,
holds the policy per domain and mailbox, and answers lookups over HTTP. Redis holds signed
copies of its answers; the database alone is the truth.
"""
