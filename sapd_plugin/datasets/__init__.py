"""Check downloaded datasets and convert them to the layout that configs and tables read."""
