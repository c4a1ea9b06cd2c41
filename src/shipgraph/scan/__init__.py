"""The secret gate: images and payloads are scanned by digest before anything of them is public."""
