"""What shipgraph writes down in the metadata repository, so that the registry is the only database: values and codecs."""
