"""Every command is an operation: the same code behind the command line, the socket and pages.

A module here holds the operations whose names begin with its own: `dataset.scan` is found in
`daemon.operations.dataset`. That is the whole index; adding a command is adding a module.
"""
