"""The study's data: training, validation and test pairs, and annotators' masks."""
