"""`penstock schemas`: what the contracts are, and whether the next release takes what waits."""
