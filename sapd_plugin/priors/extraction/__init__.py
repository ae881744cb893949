"""Extraction of masks: which images, by whom, into which store."""
