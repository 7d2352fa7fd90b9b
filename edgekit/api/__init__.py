"""What the command line can do, as functions that take what a notebook has.

Both go through these: `edgekit.cli` parses words and prints, and checks, defaults and combinations
are here or further in. Their names are imported from `edgekit`.
"""
