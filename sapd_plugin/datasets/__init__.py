"""Checks downloaded datasets and brings them into the layout that configs and tables read."""
