"""Mail that was stored before there was Letterlock, encrypted where it lies.

A message becomes what the milter would have made of it (`encryption`). A `store` takes the
place of the original without losing it: `maildir` by links and names, `imap` by APPEND and
EXPUNGE. What is under way is in a `journal`, so that a run which was killed is finished by
the next. `engine` goes through all of it.
"""
