"""The command line: commands, terminal output, exit codes. No logic: that is the engine's."""
