"""The HTTP way in: jobs over HTTP, accepted in the ledger before they are answered.

Install it with `penstock[gateway]`; `penstock serve` runs it. `docs/gateway.md` tells how to use it.
"""
