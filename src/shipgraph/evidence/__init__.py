"""What must be proven about a release before it may be finalized. Empty means no: what can't be verified is missing."""
