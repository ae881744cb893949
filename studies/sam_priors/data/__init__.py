"""The data of the controlled study: which photos, degraded how, under which names."""
