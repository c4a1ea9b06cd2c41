"""Pictures of a release: the HTML page and the job summary, values in and text out."""
