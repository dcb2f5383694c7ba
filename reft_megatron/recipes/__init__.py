"""The stories: one file a recipe, from a config to a summary. Glue, no maths, no Megatron."""
