"""What `letterlock doctor` looks at beyond Postfix's settings: the host around them.

Rules take what was read and return findings; what reads, connects or becomes another account
is `host`, `milter_greeting`, `redis_rights` and `network_checks`, and is passed in.
"""
