"""The public listener: certificates of the provider's own mailboxes, for anybody who asks.

Read-only, no uploads, one module per protocol. What may be shown decides `keyservice.published`.
"""
