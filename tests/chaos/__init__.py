"""Random operations of several clients, a daemon that is killed among them, and what must hold when it is back.

`operations` says what clients ask, `clients` asks it, `deaths` chooses how the daemon ends, `witnesses` watches what
must go on meanwhile, `seeds` does all of it for one seed and compares, `campaign` for many (`ops/chaos`).
"""
