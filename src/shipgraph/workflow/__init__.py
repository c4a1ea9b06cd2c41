"""The rendered GitHub Actions workflow: values in, text out."""
