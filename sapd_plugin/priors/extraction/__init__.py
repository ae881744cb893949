"""Mask extraction: the images, the ranks, and the job that fills a store."""
