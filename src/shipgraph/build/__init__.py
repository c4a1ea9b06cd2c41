"""Images are built here: builders, root file systems, what goes into a build, its record, and the stage's steps."""
