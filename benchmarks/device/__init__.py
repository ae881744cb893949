"""What ``benchmarks.gpu`` measures: each module has a function ``run`` that returns the rows of one table."""
