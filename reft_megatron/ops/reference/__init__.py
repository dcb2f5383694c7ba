"""Plain Python that says what the fast paths of `ops` must compute."""
