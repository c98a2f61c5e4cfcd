"""The project's figures, each measured side by side with what it is compared with, in one run."""
