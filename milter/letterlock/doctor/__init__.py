"""What `letterlock doctor` looks at beyond Postfix's settings: the host around them.

Rules take what was read and return findings. What reads, connects or becomes another account
is in `host`, `accounts`, `milter_greeting`, `redis_rights`, `dnssec` and `probes`, and is
passed in.
"""
