"""Commands that are no training runs; each has a command line of its own."""
