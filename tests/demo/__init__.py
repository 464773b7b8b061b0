"""The demo: six mails through a private stack, seen by a thief and by their owners.

`mails` says what is sent, `evidence` sends it and collects what became of it, `thief`
searches the disk, `promises` judges, `show` and `findings` tell. Each promise is checked,
not only shown.
"""
