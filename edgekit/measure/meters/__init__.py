"""Energy meters, one file each; `edgekit.tables.METERS` names them.

A meter imports only `edgekit.core` and `edgekit.errors`, and its own library inside functions.
It converts to mJ or mW where the hardware is read, and leaves it to `edgekit.measure.energy` to
judge what the numbers are worth.
"""
