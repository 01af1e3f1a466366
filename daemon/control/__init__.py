"""The daemon's unix socket: operations for commands on the same machine."""
