"""The distributed rollout buffer: what was sampled, where it is used.

Owns the schema of a rollout, its sharding over data ranks and pipeline stages, packing into
micro-batches, and the ledger. Knows no loss and no Megatron.
"""
