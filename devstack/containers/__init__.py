"""What `make containers` needs: an engine, base images, the compose file, and what the months
should be.
"""
