"""The process that speaks HTTP: it takes deliveries in, and passes all other requests on.

The daemon's own threads take turns with one interpreter, and whoever waits for an acknowledgement
would wait for each of them. The front has an interpreter of its own. It knows no secret and
judges nothing: deliveries go to the daemon as they came (`daemon.http.desk`), those of one turn of
its loop together, over a pair of sockets; other requests go to the daemon's site, over a socket in
the file system that only its user can open.

The listening socket is the daemon's: while a front that died is replaced, connections wait.
"""
