"""What shipgraph writes down in the metadata repository, which makes the registry the database: values and codecs."""
