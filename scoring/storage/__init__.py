"""Storage: objects at URIs, of which a reader never sees a half.  Bytes only, no rules of
publication.
"""
