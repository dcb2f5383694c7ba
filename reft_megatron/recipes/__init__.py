"""The recipes: one file a story. No maths, no Megatron."""
