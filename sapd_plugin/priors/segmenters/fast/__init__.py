"""SAM's automatic masks with less work: the decoder shared over prompts, the stock generator on it, an adaptive one."""
