"""Tables of papers: what a cell is, how it is run, and how its results are reported."""
