"""The steps of scoring one partition: extract, score, publish; and all of them on one machine."""
