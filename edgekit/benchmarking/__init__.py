"""Which file to take: every one that there is, how good and how fast it is, and the choice.

`edgekit.benchmarking.run` does it all: `candidates` makes or finds the files, `sessions` measures
them in turns, `choosing` decides, and `journal` keeps what is done, so that a run which was ended
goes on where it was.
"""
