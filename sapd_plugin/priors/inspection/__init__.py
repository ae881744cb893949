"""Inspection of a mask store: its report, overlays, contact sheets, and comparisons of label maps."""
