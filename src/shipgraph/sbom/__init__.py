"""What an image is made of: a CycloneDX SBOM for each platform, from its layers, attached to its manifest."""
