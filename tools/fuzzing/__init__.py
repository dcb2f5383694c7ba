"""What `tools.fuzz_extractor` is made of, and the tests that run a smaller share of it."""
