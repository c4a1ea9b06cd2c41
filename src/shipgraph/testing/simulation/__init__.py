"""A deterministic simulation of the channel transaction: the real rules and driver, everything around them simulated.

Time is virtual, and every choice comes from the seed: who starts when, how long a request takes, what happens to it,
when a process dies. A seed reproduces a run exactly. ``python -m shipgraph.testing.simulation --seeds 2000``
"""
