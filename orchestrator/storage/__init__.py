"""What a store holds and how it is written: outcomes, the index, leases, and what may be removed."""
