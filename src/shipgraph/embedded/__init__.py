"""A registry server over a store: distribution specification 1.1, for rehearsals, jobs and tests.

``serve`` runs it beside the caller, ``run`` runs it as a program; both are in ``shipgraph.embedded.serving``, which is
imported only where it is needed.
"""
