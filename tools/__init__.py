"""Commands of the project; each is run with `python -m tools.NAME`."""
