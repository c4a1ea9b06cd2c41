"""Where content lives, behind protocols of one or two methods: memory, a disk layout, or (``remote``) a registry."""
