"""The router bus: AMQP 1.0 routers joined into a graph, real (`skrouterd`, `qdrouterd`) or our embedded stand-in."""
