"""GHCR's habits for the embedded registry: tokens, visibility, lag, refusals, and GitHub's Packages API beside it.

What GHCR does was learnt from its documentation and from reports of people who probed it; ``docs/reference/serve.md``
lists what is imitated. Nothing here is imported unless it is asked for.
"""
