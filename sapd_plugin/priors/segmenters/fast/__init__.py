"""SAM's automatic masks with less work: a decoder that prompts share, and a stock and an adaptive generator."""
