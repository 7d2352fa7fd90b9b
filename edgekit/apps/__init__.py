"""Sample apps around exported files: what they are made of, and a folder for each platform.

A platform is a folder here and a line in `edgekit.tables.APPS`. Its ``template`` holds an app as it
runs, whose model, contract and golden images are put beside it: sizes, values and names of classes
are read from the contract by the app itself, or written as literals of its language by the
platform.
"""
