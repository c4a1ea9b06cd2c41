"""The payload: files shipped beside the images, as one archive and its SBOM, the same bytes for the same commit."""
