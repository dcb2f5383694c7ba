"""FP8 layers of Megatron, and the codes of their weights."""
