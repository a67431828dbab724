"""A daemon that can be killed at every one of its steps, and what must hold afterwards.

`python -m tests.crashing` is the real daemon, unchanged, with hooks around it; `points` says what a step is,
`operations` what is asked of the engine, `squaring` what the host and the log must agree on, `runs` kills and checks,
`campaign` does it for every point.
"""
