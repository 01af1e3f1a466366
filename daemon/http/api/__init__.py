"""`/api/v1`: the operations of the command line over HTTP, for whoever has a token."""
