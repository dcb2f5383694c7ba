"""What `tools.fuzz_extractor` is made of; tests run a smaller share of it."""
