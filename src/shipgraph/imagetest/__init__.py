"""Image tests: commands that run in the pushed image, under the security profiles that it will run under."""
