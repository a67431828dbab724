"""Many subscribers of a log whose writer, NATS server and clock are treated badly: does each get every event once?

`ops/subscribers N` runs the whole of it; the test suite runs a small one.
"""
