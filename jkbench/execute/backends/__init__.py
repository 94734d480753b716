"""Where trials run: a back end is a name behind one function that yields records."""
